/**
 * Tests that share a layer.
 */
import * as Vitest from "@effect/vitest"
import type * as Layer from "effect/Layer"

const original = { ...Vitest.it }

/** As `layer` of `@effect/vitest`, which leaves its layer in the `it` of all files that share their modules with this one. */
export const layer =
  <R, E>(shared: Layer.Layer<R, E>, options: { readonly excludeTestServices: true }) =>
  (name: string, tests: (it: Vitest.Vitest.MethodsNonLive<R, true>) => void): void =>
    Vitest.layer(shared, options)(name, (it) => {
      tests(it)
      Object.assign(Vitest.it, original)
    })
