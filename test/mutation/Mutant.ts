/**
 * A seeded bug: one guard of the lock is removed while the tests run. A suite that stays green with it has a hole.
 *
 * A mutant is bound to an exported function or class of a module, and not to its source text: it replaces an export, wraps what a `make`
 * takes or gives, or replaces a method.
 */
import * as Path from "node:path"
import * as Url from "node:url"

/** A seeded bug. */
export interface Mutant {
  readonly name: string
  /** What the lock does with it, in a sentence without its subject. */
  readonly bug: string
  /** The module that is changed, below `src`, without its ending. */
  readonly module: string
  /** The exports that are replaced. */
  readonly replaces: ReadonlyArray<string>
  /** The test files that have to notice it, below `test`, without their ending; the first one is asked first. */
  readonly noticedBy: ReadonlyArray<string>
  /** Whether each change of the library is checked with it. */
  readonly important: boolean
  /** The replaced exports, from all exports; methods are replaced in place. */
  readonly change: (original: never) => object
}

export const root = Path.resolve(Path.dirname(Url.fileURLToPath(import.meta.url)), "../..")

/** A seeded bug in the module with these exports. */
export const mutant = <Module>() =>
<Name extends keyof Module & string = never>(options: {
  readonly name: string
  readonly bug: string
  readonly module: string
  readonly replaces?: ReadonlyArray<Name>
  readonly noticedBy: ReadonlyArray<string>
  readonly important?: boolean
  readonly change: (original: Module) => Pick<Module, Name> | void
}): Mutant => ({
  ...options,
  replaces: options.replaces ?? [],
  important: options.important ?? false,
  change: (original) => options.change(original) ?? {}
})
