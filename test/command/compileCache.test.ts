import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as CompileCache from "../../src/internal/cli/compileCache.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"

it.scoped("What is compiled is kept where nobody else can put anything", () =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("cache")
    const cache = Path.join(directory, ".cache")
    const enable = (): boolean => {
      let enabled = false
      CompileCache.enable(directory, (path: string) => {
        enabled = true
        Fs.mkdirSync(path, { recursive: true })
      })
      return enabled
    }
    const mask = process.umask(0)
    try {
      assert.isTrue(enable())
      assert.strictEqual(Fs.statSync(cache).mode & 0o777, 0o700)
      assert.strictEqual(process.umask(), 0)
      assert.isTrue(enable())
      Fs.chmodSync(cache, 0o777)
      assert.isFalse(enable())
      Fs.rmdirSync(cache)
      Fs.symlinkSync(directory, cache)
      assert.isFalse(enable())
      Fs.unlinkSync(cache)
      if (process.getuid?.() === 0) {
        Fs.chownSync(directory, 65_534, 65_534)
        assert.isFalse(enable())
      }
    } finally {
      process.umask(mask)
    }
  }))
