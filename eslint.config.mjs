import * as effectEslint from "@effect/eslint-plugin"
import js from "@eslint/js"
import tseslint from "typescript-eslint"

/* The modules that have exceptions. */
const src = ["src/**/*.ts"]
const runtime = "src/internal/runtime.ts"
/** The engines that run on Node only, each for itself. */
const engines = ["src/internal/{flock,postgres,redis}/**/*.ts"]
/** The command line. Its entry is the one place in src where effects are run. */
const command = ["src/bin.ts", "src/internal/cli/**/*.ts"]
/** The modules that may use Node. */
const node = [
  ...engines,
  ...command,
  "src/NodeFileLock.ts",
  "src/ProcessIdentity.ts",
  "src/internal/nodeFileLock.ts",
  "src/internal/**/node*.ts",
  "src/internal/process/**/*.ts"
]

const dateNow = {
  selector: "NewExpression[callee.name='Date'][arguments.length=0]",
  message: "Ask Clock or DateTime.now: a test has to be able to move the time."
}
const spreadPush = {
  selector: "CallExpression[callee.property.name='push'] > SpreadElement.arguments",
  message: "Do not spread into push: a long array overflows the stack."
}
const missingExtension = {
  selector:
    ":matches(ImportDeclaration, ExportNamedDeclaration, ExportAllDeclaration, ImportExpression)[source.value=/^\\.{1,2}\\/(?!.*\\.(js|json)$)/]",
  message: "A relative import ends in .js."
}
const focused = {
  selector: [
    "MemberExpression[property.name=/^(only|skip|todo|fails)$/][object.name=/^(it|test|describe)$/]",
    "MemberExpression[property.name=/^(only|skip|todo|fails)$/][object.object.name=/^(it|test|describe)$/]"
  ].join(", "),
  message: "Every test runs, and every test has to pass."
}

const barrel = {
  regex: "^(\\./|(\\.\\./)+(src/)?)index\\.js$",
  message: "Import the module itself; the barrel is for users."
}
const sharedLayer = {
  group: ["@effect/vitest"],
  importNames: ["layer"],
  message: "It stays in the `it` of other files: use test/utils/layer.js."
}
const onlyNode =
  "Only NodeFileLock, ProcessIdentity, the command line, the engines that run on Node and the internal modules named node* use Node; use @effect/platform."
const nodeBuiltins = {
  regex:
    "^(node:.*|(assert|buffer|child_process|crypto|events|fs|http|https|net|os|path|process|stream|timers|url|util|worker_threads)(/.*)?)$",
  message: onlyNode
}
const publicEngine = {
  regex: "^(\\.\\./)+(?!LockBackend\\.js$)[A-Z]\\w*Backend\\.js$",
  message: "An internal module does not import a public engine: dependencies point one way."
}
const service = {
  regex: "^\\./FileLock\\.js$",
  message: "An engine does not know the service that runs on it: FileLock → LockBackend ← engines."
}

const timers = ["setTimeout", "setInterval", "setImmediate"]
const nodeGlobals = ["process", "Buffer", "require", "__dirname", "__filename"]
const restrictGlobals = (names, message) => names.map((name) => ({ name, message }))

const impure = [
  { object: "Date", property: "now", message: "Ask Clock: a test has to be able to move the time." },
  { object: "Math", property: "random", message: "Ask Random: a test has to be able to repeat a run." }
]
const runs = ["runCallback", "runFork", "runPromise", "runPromiseExit", "runSync", "runSyncExit"].flatMap((property) =>
  ["Effect", "Runtime"].map((object) => ({
    object,
    property,
    message: "A library describes effects; only the program at the edge runs them."
  }))
)
/** What is below the public combinators of Effect. */
const belowPublic = [
  ...[
    "_children",
    "currentContext",
    "currentDefaultServices",
    "currentScheduler",
    "currentTracer",
    "getFiberRefs",
    "setFiberRef",
    "unsafeCurrentTimeMillis",
    "unsafeCurrentTimeNanos",
    "unsafeInterruptAsFork"
  ].map((property) => ({ property, message: `Only ${runtime} reaches below the public combinators of Effect.` })),
  { object: "Runtime", property: "make", message: `Only ${runtime} makes runtimes.` }
]

/** The imports a set of files may not have; each later block replaces the earlier one, so each names all of its own. */
const restrictImports = (files, patterns, ignores = []) => ({
  files,
  ignores,
  rules: { "no-restricted-imports": ["error", { patterns }] }
})

export default tseslint.config(
  {
    ignores: [
      "**/node_modules",
      "build",
      "**/dist",
      "**/coverage",
      ".docgen",
      "docs",
      "site/.vitepress/cache",
      "**/*.md"
    ]
  },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  ...effectEslint.configs.dprint,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }],
      "object-shorthand": "error",
      "require-yield": "off",
      "no-restricted-syntax": ["error", spreadPush, missingExtension],
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }]
    }
  },
  {
    files: ["**/*.mjs"],
    languageOptions: { globals: { console: "readonly", process: "readonly", URL: "readonly" } }
  },
  {
    // What needs types to be seen: a promise nobody waits for, an assertion that changes nothing, a case left out.
    files: ["**/*.ts"],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-unnecessary-type-assertion": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }]
    }
  },
  {
    files: ["test/**/*.ts"],
    rules: { "no-restricted-syntax": ["error", spreadPush, missingExtension, focused] }
  },
  restrictImports(["test/**/*.ts", "bench/**/*.ts", "scripts/**/*.ts"], [barrel, sharedLayer], [
    "test/index.test.ts",
    "test/utils/layer.ts"
  ]),
  {
    files: src,
    rules: {
      "no-console": "error",
      "no-restricted-globals": ["error", ...restrictGlobals(timers, "Time comes from Clock and Effect.sleep."), {
        name: "performance",
        message: "Time comes from Clock."
      }, ...restrictGlobals(nodeGlobals, onlyNode)],
      "no-restricted-properties": ["error", ...impure, ...runs, ...belowPublic],
      "no-restricted-syntax": ["error", spreadPush, missingExtension, dateNow],
      "@effect/no-import-from-barrel-package": ["error", { packageNames: ["effect", "@effect/platform"] }]
    }
  },
  {
    // How long a system call took decides which calls are made synchronously: that is asked of the machine, and not of Clock.
    files: node,
    rules: {
      "no-restricted-globals": ["error", ...restrictGlobals(timers, "Time comes from Clock and Effect.sleep.")]
    }
  },
  {
    files: [runtime],
    rules: { "no-restricted-properties": ["error", ...impure, ...runs] }
  },
  {
    files: ["src/internal/cli/start.ts"],
    rules: { "no-restricted-properties": ["error", ...impure, ...belowPublic] }
  },
  restrictImports(src, [barrel, nodeBuiltins], node),
  restrictImports(node, [barrel]),
  restrictImports(["src/*Backend.ts"], [barrel, nodeBuiltins, service]),
  restrictImports(["src/internal/**/*.ts"], [barrel, nodeBuiltins, publicEngine], node),
  restrictImports([
    "src/internal/nodeFileLock.ts",
    "src/internal/**/node*.ts",
    "src/internal/process/**/*.ts",
    ...engines,
    ...command
  ], [
    barrel,
    publicEngine
  ])
)
