import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Settings } from "../FileLock.js"
import { decodeConfig } from "./settings.js"

/** A layer with settings from the program's configuration. */
export const layerSettings = <A, R>(
  settings: Config.Config.Wrap<Settings>,
  layerWith: (settings: Settings) => Layer.Layer<A, never, R>
): Layer.Layer<A, ConfigError, R> =>
  Layer.unwrapEffect(Effect.map(Effect.flatMap(Config.unwrap(settings), decodeConfig), layerWith))
