import * as Path from "node:path"
import type { Plugin } from "vitest/config"
import { type Mutant, root } from "./Mutant.js"

/** Puts a module with the changed exports in the place of the one that a mutant changes. */
export const plugin = ({ module, name, replaces }: Mutant): Plugin => {
  const path = Path.join(root, "src", `${module}.ts`)
  const original = JSON.stringify(`${path}?original`)
  const mutants = JSON.stringify(Path.join(root, "test/mutation/mutants.ts"))
  return {
    name: "seeded-bug",
    enforce: "pre",
    load: (id) =>
      id === path
        ? [
          `import * as original from ${original}`,
          `import { mutants } from ${mutants}`,
          `const changed = mutants.find(({ name }) => name === ${JSON.stringify(name)}).change(original)`,
          `export * from ${original}`,
          ...replaces.map((name) => `export const ${name} = changed.${name}`)
        ].join("\n")
        : undefined
  }
}
