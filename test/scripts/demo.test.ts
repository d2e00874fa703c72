import { assert, describe, it } from "@effect/vitest"
import * as Esbuild from "esbuild"
import { fileURLToPath } from "node:url"

describe("The demonstration", () => {
  it("loads no module of Effect before it has printed its first line", async () => {
    const { metafile } = await Esbuild.build({
      entryPoints: [fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url))],
      bundle: true,
      platform: "node",
      format: "esm",
      packages: "external",
      metafile: true,
      write: false
    })
    const packages = Object.values(metafile.outputs)
      .flatMap(({ imports }) => imports.map(({ path }) => path))
      .filter((path) => !path.startsWith("node:"))
    assert.deepStrictEqual([...new Set(packages)], ["esbuild"])
  })
})
