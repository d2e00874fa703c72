/**
 * What the lock needs of the platform and no more: a worker that is restarted every few milliseconds loads nothing it does
 * not use.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as Layer from "effect/Layer"

/** Files and paths of Node. */
export const layer = Layer.merge(NodeFileSystem.layer, NodePath.layer)
