import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import { layer } from "../utils/layer.js"
import * as Scene from "./Scene.js"

/** Whether a process lives. */
const lives = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** A command that says its process, and goes on until a file is there. */
const until = (file: string) => ["sh", "-c", `echo pid=$$; until test -e ${file}; do sleep 0.05; done`]

/** Those that wait for the lock of `tasks`, once somebody does. */
const waiters = (scene: Scene.Scene) =>
  scene.run("status", "--json", "tasks").pipe(
    Effect.map(({ stdout }) => JSON.parse(stdout)[0].waiters),
    Effect.repeat({ until: (waiters) => waiters.length > 0 })
  )

layer(Scene.Script.layer, { excludeTestServices: true })("effect-filelock run", (it) => {
  it.scoped("runs the command while its lock is there, passes its input and output, and exits as it does", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const command = yield* scene.command("run", "a/tasks", "--", "sh", "-c", "cat; ls a; echo problem >&2; exit 7")
      command.stdin("hello\n")
      const result = yield* command.result
      assert.deepStrictEqual(result, { code: 7, signal: null, stdout: "hello\ntasks.lock\n", stderr: "problem\n" })
      assert.deepStrictEqual(Fs.readdirSync(scene.path("a")), [])
    }))

  it.scoped("takes what is behind the path for the command, and needs no dashes in front of it", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const { stdout } = yield* scene.run("run", "-w", "10", "tasks", "printf", "<%s>", "--timeout", "-x", "--", "")
      assert.strictEqual(stdout, "<--timeout><-x><--><>")
    }))

  it.scoped("runs a line of the shell before or after the path, as flock(1)", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      assert.strictEqual((yield* scene.run("run", "tasks", "-c", "echo $((6 * 7))")).stdout, "42\n")
      assert.strictEqual((yield* scene.run("run", "-n", "-c", "echo $((6 * 7))", "tasks")).stdout, "42\n")
    }))

  it.scoped("says who has the lock, and exits with 75 or what it is told, when it does not obtain the lock", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "--label", "nightly", "tasks", "--", ...until("go"))
      const pid = yield* holder.says(/pid=(\d+)\n/)
      const refused = yield* scene.run("run", "--timeout", "0", "tasks", "--", "touch", "wrong")
      assert.strictEqual(refused.code, 75)
      assert.match(refused.stderr, new RegExp(`^effect-filelock: .*tasks\\.lock.* by pid ${pid} on .*"nightly".*\n$`))
      assert.strictEqual((yield* scene.run("run", "-n", "-E", "9", "tasks", "touch", "wrong")).code, 9)
      assert.strictEqual((yield* scene.run("run", "-w", "0.2", "tasks", "touch", "wrong")).code, 75)
      scene.write("go", "")
      assert.strictEqual((yield* holder.result).code, 0)
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped("shares a lock with those that share it", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const readers = yield* Effect.replicateEffect(scene.command("run", "-s", "tasks", "--", ...until("go")), 2)
      yield* Effect.forEach(readers, (reader) => reader.says(/pid=/))
      assert.strictEqual((yield* scene.run("run", "-n", "-x", "tasks", "true")).code, 75)
      scene.write("go", "")
      yield* Effect.forEach(readers, (reader) => reader.result)
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped("loses no update of many commands at once", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      scene.write("count", "0")
      const increment = "n=$(cat count); sleep 0.01; echo $((n + 1)) > count"
      const many = yield* Effect.replicateEffect(scene.command("run", "count", "--", "sh", "-c", increment), 24)
      const results = yield* Effect.forEach(many, ({ result }) => result)
      assert.deepStrictEqual(results, many.map(() => ({ code: 0, signal: null, stdout: "", stderr: "" })))
      assert.strictEqual(scene.read("count"), "24\n")
      assert.deepStrictEqual(scene.files(), ["count"])
    }))

  it.scoped("keeps the lock for a command that goes on after SIGKILL of effect-filelock", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
      const pid = Number(yield* holder.says(/pid=(\d+)\n/))
      holder.signal("SIGKILL")
      const waiter = yield* scene.command("run", "tasks", "--", "cat", "go")
      const refused = yield* scene.run("run", "-w", "1", "tasks", "true")
      assert.strictEqual(refused.code, 75)
      assert.isTrue(lives(pid))
      scene.write("go", "on")
      assert.strictEqual((yield* waiter.result).stdout, "on")
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped("runs nothing when effect-filelock gets SIGKILL while it waits", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
      yield* holder.says(/pid=/)
      const waiter = yield* scene.command("run", "tasks", "--", "touch", "wrong")
      const status = yield* Effect.repeat(scene.run("status", "tasks"), {
        until: ({ stdout }) => stdout.includes("waiting")
      })
      assert.include(status.stdout, "; 1 waiting")
      waiter.signal("SIGKILL")
      // Its output ends with the last process that could write there.
      assert.strictEqual((yield* waiter.result).signal, "SIGKILL")
      scene.write("go", "")
      yield* holder.result
      assert.strictEqual((yield* scene.run("run", "tasks", "true")).code, 0)
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped.each<NodeJS.Signals>(["SIGTERM", "SIGINT", "SIGHUP"])(
    "sends %s on to the command, ends as that does, and leaves no lock",
    (signal) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const holder = yield* scene.start("setsid", "effect-filelock", "run", "tasks", "--", ...until("never"))
        const pid = Number(yield* holder.says(/pid=(\d+)\n/))
        holder.signal(signal)
        const result = yield* holder.result
        assert.deepInclude(result, { code: null, signal })
        assert.isFalse(lives(pid))
        assert.deepStrictEqual(scene.files(), [])
      })
  )

  it.scoped("waits for a command that ends in its own time after SIGTERM, and exits with its code", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command(
        ...["run", "tasks", "--", "sh", "-c"],
        "trap 'sleep 0.2; ls *.lock; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
      )
      yield* holder.says(/ready/)
      holder.signal("SIGTERM")
      assert.deepInclude(yield* holder.result, { code: 3, stdout: "ready\ntasks.lock\n" })
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped.each<NodeJS.Signals>(["SIGTERM", "SIGINT", "SIGHUP"])(
    "ends by %s during the wait, and runs nothing",
    (signal) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
        yield* holder.says(/pid=/)
        const waiter = yield* scene.start("setsid", "effect-filelock", "run", "tasks", "--", "touch", "wrong")
        yield* Effect.repeat(scene.run("status", "tasks"), { until: ({ stdout }) => stdout.includes("1 waiting") })
        waiter.signal(signal)
        assert.deepInclude(yield* waiter.result, { code: null, signal, stdout: "", stderr: "" })
        assert.notInclude((yield* scene.run("status", "tasks")).stdout, "waiting")
        scene.write("go", "")
        yield* holder.result
        assert.deepStrictEqual(scene.files(), ["go"])
      })
  )

  it.scoped("ends a command whose lock is taken away, and exits with 74", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("never"))
      const pid = Number(yield* holder.says(/pid=(\d+)\n/))
      assert.strictEqual((yield* scene.run("break", "--force", "tasks")).code, 0)
      const result = yield* holder.result
      assert.strictEqual(result.code, 74)
      assert.match(result.stderr, /^effect-filelock: Lost the lock .*tasks\.lock: .*\n$/)
      assert.isFalse(lives(pid))
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("exits with 74 when it hears of the loss only after its command has ended", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
      yield* holder.says(/pid=/)
      scene.remove("tasks.lock")
      scene.write("go", "")
      const first = yield* holder.result
      assert.strictEqual(first.code, 74)
      assert.match(first.stderr, /^effect-filelock: Lost the lock .*tasks\.lock: .*\n$/)
      scene.remove("go")
      const stopped = yield* scene.command("run", "tasks", "--", ...until("go"))
      yield* stopped.says(/pid=/)
      stopped.signal("SIGSTOP")
      assert.strictEqual((yield* scene.run("break", "--force", "tasks")).code, 0)
      scene.write("go", "")
      assert.strictEqual((yield* scene.run("run", "tasks", "true")).code, 0)
      stopped.signal("SIGCONT")
      assert.strictEqual((yield* stopped.result).code, 74)
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped("releases the lock itself after its command, also after it stood still", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
      const pid = Number(yield* holder.says(/pid=(\d+)\n/))
      holder.signal("SIGSTOP")
      scene.write("go", "")
      yield* Effect.repeat(Effect.sync(() => Scene.isZombie(pid)), {
        until: (isZombie) => isZombie,
        schedule: Schedule.spaced("5 millis")
      })
      assert.strictEqual((yield* scene.run("run", "-w", "0.5", "tasks", "true")).code, 75)
      const next = yield* scene.command("run", "tasks", "true")
      yield* waiters(scene)
      holder.signal("SIGCONT")
      assert.deepInclude(yield* holder.result, { code: 0, stderr: "" })
      assert.deepInclude(yield* next.result, { code: 0, stderr: "" })
      assert.deepStrictEqual(scene.files(), ["go"])
    }))

  it.scoped("kills a command that ignores SIGTERM when its lock is taken away", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command(
        ...["run", "tasks", "--", "sh", "-c"],
        "trap '' TERM; echo pid=$$; for i in $(seq 150); do sleep 0.1; done; touch wrong"
      )
      const pid = Number(yield* holder.says(/pid=(\d+)\n/))
      assert.strictEqual((yield* scene.run("break", "--force", "tasks")).code, 0)
      assert.strictEqual((yield* holder.result).code, 74)
      assert.isFalse(lives(pid))
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("exits with 127 for a command that is not there, 126 for one that cannot be run, 128 and more for a signal", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      scene.write("text", "")
      assert.strictEqual((yield* scene.run("run", "tasks", "no-such-command")).code, 127)
      assert.strictEqual((yield* scene.run("run", "tasks", "./text")).code, 126)
      assert.strictEqual((yield* scene.run("run", "tasks", "sh", "-c", "kill -USR1 $$")).code, 138)
      assert.deepStrictEqual(scene.files(), ["text"])
    }))

  it.scoped("exits with 126 where there are too many open files for a process", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      // The last that is too few is not the same for each version of Node.
      const line =
        "for few in 30 28 26 25 24 23 22 21; do (ulimit -n $few; effect-filelock run tasks true) 2>&1 && continue; echo $?; exit; done"
      const { stdout } = yield* (yield* scene.shell(line)).result
      assert.match(stdout, /^effect-filelock: true: .* EMFILE\n126\n$/)
    }))

  it.scoped("ends the wait when the process that waits for the start of its command is killed", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "tasks", "--", ...until("go"))
      yield* holder.says(/pid=/)
      const waiter = yield* scene.command("run", "tasks", "--", "touch", "wrong")
      const [first] = yield* waiters(scene)
      process.kill(first.pid, "SIGKILL")
      assert.strictEqual((yield* waiter.result).code, 137)
      assert.deepStrictEqual(scene.files(), ["tasks.lock"])
    }))

  it.scoped("leaves the files alone that a script has opened for the command", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* scene.shell(
        "exec 3>three 4>four 9>nine; effect-filelock run tasks sh -c 'echo 3 >&3; echo 4 >&4; echo 9 >&9'"
      )
      assert.deepInclude(yield* script.result, { code: 0, stderr: "" })
      assert.deepStrictEqual(["three", "four", "nine"].map(scene.read), ["3\n", "4\n", "9\n"])
    }))

  it.scoped("leaves pipes alone that are open at both ends, or twice at one", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      scene.write("first", "all:\n\t+effect-filelock run tasks $(MAKE) -s -f second")
      scene.write("second", "all:\n\t@echo $(MAKEFLAGS)")
      const make = yield* scene.start("make", "-s", "-j2", "-f", "first")
      const { stderr, stdout } = yield* make.result
      assert.strictEqual(stderr, "")
      assert.include(stdout, "--jobserver")
      const script = yield* scene.shell(
        "{ exec 3>&1 4>&1; effect-filelock run tasks sh -c 'echo 3 >&3; echo 4 >&4'; } | cat"
      )
      assert.deepInclude(yield* script.result, { code: 0, stdout: "3\n4\n", stderr: "" })
    }))

  it.scoped("leaves the environment alone, with names that a shell does not know", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const variables = ["go=1", "discovery.type=single node", "-n=2", "BASH_FUNC_f%%=() {  echo 3\n}"]
      const { code, stderr, stdout } = yield* (yield* scene.start(
        ...["env", "--", ...variables, "effect-filelock", "run", "tasks", "env", "-0"] as const
      )).result
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      const lines = stdout.split("\0")
      for (const variable of variables) assert.include(lines, variable)
      assert.isFalse(lines.some((line) => line.startsWith("effect_filelock")))
    }))

  it.scoped("leaves no process and no lock behind when its output is closed", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* scene.shell("effect-filelock run tasks sh -c 'yes' | head -1")
      assert.deepInclude(yield* script.result, { code: 0, stdout: "y\n" })
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("says on a terminal for whom it waits, in one line that goes away", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const holder = yield* scene.command("run", "--label", "nightly", "tasks", "--", ...until("go"))
      const pid = yield* holder.says(/pid=(\d+)\n/)
      const terminal = yield* scene.start("script", "-qec", "effect-filelock run tasks echo done", "/dev/null")
      const line = yield* terminal.says(/Waiting as [^\r]*/)
      assert.match(
        line,
        new RegExp(`^Waiting as 1st for tasks\\.lock: held for .* by pid ${pid} on .*$`)
      )
      scene.write("go", "")
      const { stdout } = yield* terminal.result
      // eslint-disable-next-line no-control-regex -- the line is cleared with it
      assert.match(stdout, /Waiting as .*\r\u001b\[K(?:\r\u001b\[K)*done\r\n$/s)
    }))

  it.scoped("writes nothing on a terminal when it does not wait, and leaves the modes of the terminal to the command", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const terminal = yield* scene.start(
        "script",
        "-qec",
        "printf 'a '; effect-filelock run tasks stty -echo; stty -a | grep -o '.echo '",
        "/dev/null"
      )
      assert.strictEqual((yield* terminal.result).stdout, "a -echo \r\n")
    }))
})
