#!/usr/bin/env node
/**
 * The command `effect-filelock`. `run` is loaded alone: each script that uses it pays for its start.
 */
import * as CompileCache from "./internal/cli/compileCache.js"

CompileCache.enable(import.meta.dirname)

const load = process.argv[2] === "run"
  ? () => import("./internal/cli/startRun.js")
  : () => import("./internal/cli/startOthers.js")

void load().then(({ start }) => start(process.argv))
