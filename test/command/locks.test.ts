import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { layer } from "../utils/layer.js"
import * as Scene from "./Scene.js"

/** Holds a lock until it is told to go on. */
const hold = (scene: Scene.Scene, path: string, ...options: ReadonlyArray<string>) =>
  Effect.tap(
    scene.command("run", ...options, path, "--", "sh", "-c", "echo pid=$$; read -r line"),
    ({ says }) => says(/pid=/)
  )

/** Leaves the lock of a dead process at a path: of one that was killed, and of what it ran. */
const abandon = (scene: Scene.Scene, path: string) =>
  Effect.gen(function*() {
    const holder = yield* scene.command("run", path, "--", "sh", "-c", "echo pid=$$; read -r line")
    const pid = Number(yield* holder.says(/pid=(\d+)/))
    holder.signal("SIGKILL")
    process.kill(pid, "SIGKILL")
    yield* holder.result
    return pid
  })

layer(Scene.Script.layer, { excludeTestServices: true })("effect-filelock", (it) => {
  it.scoped("says of each path who holds its lock, since when, and whether the holder lives", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "held", "--label", "a label")
      const pid = yield* abandon(scene, "dead")
      scene.write("other.lock", "not of this program")
      const { code, stdout } = yield* scene.run("status", "held", "dead", "free", "other")
      assert.strictEqual(code, 0)
      const [held, dead, free, other, end] = stdout.split("\n")
      assert.match(held ?? "", /^held\.lock: held for \S+(?: \S+)? by pid \d+ on \S+ \("a label"\)$/)
      assert.match(dead ?? "", new RegExp(`^dead\\.lock: held for .* by pid ${pid} on .*, which is dead$`))
      const byLock = yield* scene.run("status", "held.lock", "dead.lock", "other.lock", "free.lock")
      assert.deepStrictEqual(byLock.stdout.split("\n").map((line) => line.replace(/ for .* by/, "")), [
        ...[held, dead].map((line) => line?.replace(/ for .* by/, "")),
        "other.lock.lock: free",
        "free.lock.lock: free",
        ""
      ])
      assert.deepStrictEqual([free, other, end], [
        "free.lock: free",
        "other.lock: not a lock of this program",
        ""
      ])
    }))

  it.scoped("writes JSON that says the same", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "held", "--label", "a label")
      const { stdout } = yield* scene.run("status", "--json", "held", "free")
      const [held, free] = JSON.parse(stdout)
      assert.deepInclude(held, { path: "held", lockPath: "held.lock", state: "held", mode: "exclusive", waiters: [] })
      assert.deepInclude(held.holders[0], { label: "a label" })
      assert.deepStrictEqual(free, { path: "free", lockPath: "free.lock", state: "free", holders: [], waiters: [] })
    }))

  it.scoped("lists the locks below a directory, and no files of other programs", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "a/b/one")
      yield* hold(scene, "two", "--shared")
      scene.write("yarn.lock", "# yarn lockfile v1")
      const { stdout } = yield* scene.run("list", ".")
      assert.deepStrictEqual(stdout.split("\n").map((line) => line.split(":")[0]), ["a/b/one.lock", "two.lock", ""])
      const json = JSON.parse((yield* scene.run("list", "--json", ".")).stdout)
      assert.deepStrictEqual(json.map(({ mode, path }: { mode: string; path: string }) => [path, mode]), [
        ["a/b/one", "exclusive"],
        ["two", "shared"]
      ])
      const missing = yield* scene.run("list", "nowhere")
      assert.strictEqual(missing.code, 1)
      assert.match(missing.stderr, /^effect-filelock: ENOENT.*nowhere.*\n$/)
    }))

  it.scoped("lists what it can read, and fails where a directory cannot be read", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "one")
      // Root may read all directories, but no path that is too long.
      const deep = "for i in $(seq 17); do mkdir $name && cd -P $name; done"
      const script = yield* scene.shell(
        `name=$(printf %0250d 0); (${deep}); effect-filelock list .; echo $?; rm -r $name`
      )
      const { stderr, stdout } = yield* script.result
      assert.match(stdout, /^one\.lock: held for [^\n]*\n1\n$/)
      assert.match(stderr, /^effect-filelock: ENAMETOOLONG[^\n]*\n$/)
    }))

  it.scoped("breaks the lock of a dead holder, and that of a live one only by force", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* abandon(scene, "dead")
      assert.deepInclude(yield* scene.run("break", "dead"), { code: 0, stdout: "dead.lock: broken\n", stderr: "" })
      const holder = yield* hold(scene, "held")
      const refused = yield* scene.run("break", "held")
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /^effect-filelock: held\.lock: held for .*--force.*\n$/)
      assert.deepInclude(yield* scene.run("break", "--force", "held"), { code: 0, stdout: "held.lock: broken\n" })
      assert.strictEqual((yield* holder.result).code, 74)
      assert.deepInclude(yield* scene.run("break", "held"), { code: 0, stdout: "held.lock: free\n" })
      scene.write("other.lock", "not of this program")
      assert.strictEqual((yield* scene.run("break", "--force", "other")).code, 1)
      assert.deepStrictEqual(scene.files(), ["other.lock"])
    }))

  it.scoped("waits until a lock is free, or for so long", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      assert.deepInclude(yield* scene.run("wait", "nowhere/free"), { code: 0, stdout: "", stderr: "" })
      assert.isFalse(Fs.existsSync(scene.path("nowhere")))
      const holder = yield* hold(scene, "held")
      const late = yield* scene.run("wait", "--timeout", "100ms", "held")
      assert.strictEqual(late.code, 75)
      assert.match(late.stderr, /^effect-filelock: .*held\.lock.* by pid .*\n$/)
      const waiter = yield* scene.command("wait", "held")
      yield* Effect.repeat(scene.run("status", "held"), { until: ({ stdout }) => stdout.includes("1 waiting") })
      holder.stdin("go on\n")
      assert.deepInclude(yield* waiter.result, { code: 0, stdout: "", stderr: "" })
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("says on a terminal for whom it waits", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* hold(scene, "held", "--label", "a")
      const waiter = yield* scene.start("script", "-qec", "effect-filelock wait held", "/dev/null")
      yield* waiter.says(/Waiting as 1st for held\.lock: held for .* by pid \d+ on .* \("a"\)/)
      holder.stdin("go on\n")
      const { code, stdout } = yield* waiter.result
      assert.strictEqual(code, 0)
      assert.isTrue(stdout.endsWith("\r\u001b[K"))
    }))

  it.scoped("shows the locks on a terminal, and gives the terminal back however it ends", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "held", "--label", "a")
      const quit = yield* scene.start("script", "-qec", "stty rows 24 cols 80; effect-filelock top .", "/dev/null")
      // eslint-disable-next-line no-control-regex -- the line ends with a sequence for the terminal
      const line = yield* quit.says(/held\.lock [^\u001b]*/)
      assert.match(line, /^held\.lock +held +\S+ +pid \d+ on .* "a"$/)
      quit.stdin("q")
      const { code, stdout } = yield* quit.result
      assert.strictEqual(code, 0)
      assert.isTrue(stdout.endsWith("\u001b[?25h\u001b[?1049l"))
      const stopped = yield* scene.start(
        ...["script", "-qec"] as const,
        "stty rows 24 cols 80; set -m; effect-filelock top .; echo stopped; fg",
        "/dev/null"
      )
      yield* stopped.says(/held\.lock/)
      stopped.stdin("\u001a")
      yield* stopped.says(/\[\?1049l[^]*stopped/)
      yield* stopped.says(/stopped[^]*\[\?1049h[^]*held\.lock/)
      stopped.stdin("q")
      assert.deepInclude(yield* stopped.result, { code: 0 })
      const killed = yield* scene.start(
        ...["script", "-qec"] as const,
        "stty rows 24 cols 80; effect-filelock top . & sleep 1; kill -TERM $!; wait $!; echo \"code $?\"",
        "/dev/null"
      )
      assert.match((yield* killed.result).stdout, /\[\?25h.*\[\?1049l(?:Terminated)?\s*code 143/s)
      const piped = yield* scene.run("top", ".")
      assert.deepInclude(piped, { code: 64, stdout: "" })
    }))

  it.scoped.each(
    [
      [["run"], /^run: PATH is missing/],
      [["run", "a"], /COMMAND is missing/],
      [["run", "", "true"], /PATH is empty/],
      [["run", "--timeout", "soon", "a", "true"], /--timeout "soon" is no time/],
      [["run", "--timeout", "5constructor", "a", "true"], /--timeout "5constructor" is no time/],
      [["run", "--timeout", "-5", "a", "true"], /'--timeout' argument is ambiguous/],
      [["run", "--what", "a", "true"], /--what/],
      [["run", "-E", "256", "a", "true"], /256.* is not a number from 0 to 255/],
      [["run", "-s", "-x", "a", "true"], /exclude each other/],
      [["run", "-c", "true", "a", "true"], /beside --command/],
      [["run", "a", "-c"], /takes one line of the shell/],
      [["status"], /PATH/],
      [["status", "--what", "a"], /--what is no option/],
      [["list"], /DIR/],
      [["list", "a", "b"], /'b'/],
      [["wait"], /PATH/],
      [["wait", "--timeout", "soon", "a"], /is no time/],
      [["break"], /PATH/],
      [["break", "--forse", "a"], /Did you mean '--force'/],
      [["top"], /DIR/],
      [["what"], /Invalid subcommand/],
      [[], /subcommand/i]
    ] as const
  )("says in one line what is wrong with %j", ([args, pattern]) =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const { code, stderr, stdout } = yield* scene.run(...args)
      assert.deepStrictEqual({ code, stdout, lines: stderr.split("\n").length }, { code: 64, stdout: "", lines: 2 })
      assert.match(stderr, /^effect-filelock: /)
      assert.match(stderr.slice("effect-filelock: ".length), pattern)
    }))

  it.scoped.each(["run", "status", "list", "wait", "break", "top"])("explains %s", (name) =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const { code, stdout } = yield* scene.run(name, "--help")
      assert.strictEqual(code, 0)
      assert.include(stdout, "USAGE")
      assert.notInclude(stdout, "\u001b")
      const page = Fs.readFileSync(new URL("../../docs/man/effect-filelock.1", import.meta.url), "utf8").replaceAll(
        "\\-",
        "-"
      )
      const options = [...stdout.matchAll(/--[a-z-]+/g)].map(([option]) => option)
      const builtIn = new Set(["--completions", "--log-level", "--help", "--wizard", "--version"])
      for (const option of options.filter((option) => !builtIn.has(option))) assert.include(page, option)
    }))

  it.scoped.each(["bash", "zsh", "fish"])("writes completions for %s", (shell) =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const { code, stdout } = yield* scene.run("--completions", shell)
      assert.strictEqual(code, 0)
      for (const name of ["run", "status", "list", "wait", "break", "top"]) assert.include(stdout, name)
    }))

  it.scoped("ends quietly where nobody reads its output", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* scene.shell("(effect-filelock list --json .; echo $? >&2) | true")
      assert.deepInclude(yield* script.result, { stdout: "", stderr: "0\n" })
    }))

  it.scoped("fails where its output cannot be written", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* scene.shell("effect-filelock status --json a > /dev/full; echo $?")
      const { stderr, stdout } = yield* script.result
      assert.strictEqual(stdout, "1\n")
      assert.match(stderr, /^effect-filelock: ENOSPC.*\n$/)
    }))

  it.scoped("exits as ever where nothing can be said", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      yield* hold(scene, "held")
      const lines = ["run -n held true", "wait --timeout 0 held", "break held", "what"]
      for (const to of ["2> /dev/full", "2>&1 | true"]) {
        const script = yield* scene.shell(
          lines.map((line) => `{ effect-filelock ${line}; echo $? >> codes; } ${to}`).join("; ") +
            "; cat codes; rm codes"
        )
        assert.strictEqual((yield* script.result).stdout, "75\n75\n1\n64\n")
      }
    }))

  it.scoped.each<NodeJS.Signals>(["SIGTERM", "SIGINT", "SIGHUP"])(
    "waits no more after %s, and leaves nothing",
    (signal) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        yield* hold(scene, "held")
        const waiter = yield* scene.command("wait", "held")
        yield* Effect.repeat(scene.run("status", "held"), { until: ({ stdout }) => stdout.includes("1 waiting") })
        waiter.signal(signal)
        assert.deepInclude(yield* waiter.result, { code: null, signal, stdout: "", stderr: "" })
        assert.deepStrictEqual(scene.files(), ["held.lock"])
      })
  )
})
