import { assert, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { diagrams } from "../../scripts/diagrams.js"

const directory = new URL("../../docs/images/", import.meta.url)

it("the pictures of the guides are those that `scripts/diagrams.ts --write` makes", () => {
  const committed = Fs.readdirSync(directory)
    .map((name) => [name.replace(/\.svg$/, ""), Fs.readFileSync(new URL(name, directory), "utf8")])
  assert.deepStrictEqual(Object.fromEntries(committed), diagrams)
})
