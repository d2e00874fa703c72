import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Settings } from "../FileLock.js"
import { decodeConfig } from "./settings.js"

const byDefault = Config.succeed(undefined)

/** As `Config.unwrap`, which throws at a record without fields, and at a field that is `undefined`. */
const unwrap = (settings: Config.Config.Wrap<Settings>): Config.Config<Settings> => {
  if (Config.isConfig(settings)) return settings
  const fields: { readonly [Field in keyof Settings]-?: Config.Config<Settings[Field]> } = {
    lease: settings.lease ?? byDefault,
    handoff: settings.handoff ?? byDefault,
    pollInterval: settings.pollInterval ?? byDefault
  }
  return Config.all(fields)
}

/** A layer with settings from the program's configuration. */
export const layerSettings = <A, R>(
  settings: Config.Config.Wrap<Settings>,
  layerWith: (settings: Settings) => Layer.Layer<A, never, R>
): Layer.Layer<A, ConfigError, R> =>
  Layer.unwrapEffect(Effect.map(Effect.flatMap(unwrap(settings), decodeConfig), layerWith))
