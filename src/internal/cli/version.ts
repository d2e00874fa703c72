import * as NodeFS from "node:fs"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"

const manifestAbove = (directory: string): string => {
  const path = NodePath.join(directory, "package.json")
  return NodeFS.existsSync(path) ? path : manifestAbove(NodePath.dirname(directory))
}

const manifest: unknown = JSON.parse(
  NodeFS.readFileSync(manifestAbove(NodePath.dirname(fileURLToPath(import.meta.url))), "utf8")
)

/** The version of this package. */
export const version =
  typeof manifest === "object" && manifest !== null && "version" in manifest && typeof manifest.version === "string"
    ? manifest.version
    : "unknown"
