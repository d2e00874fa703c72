import * as effectEslint from "@effect/eslint-plugin"
import js from "@eslint/js"
import tseslint from "typescript-eslint"

/* The places where the house makes its exceptions. */
const src = ["src/**/*.ts"]
const program = ["src/bin.ts"]
const knowsNode = ["src/ProcessIdentity.ts", "src/internal/process*.ts", "src/internal/process*/**/*.ts", ...program]

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
const nodeBuiltins = {
  regex:
    "^(node:.*|(assert|buffer|child_process|crypto|events|fs|http|https|net|os|path|process|stream|timers|url|util|worker_threads)(/.*)?)$",
  message: "Only ProcessIdentity knows Node; everything else goes through @effect/platform."
}
const publicEngine = {
  regex: "^(\\.\\./)+(?!LockBackend\\.js$)[A-Z]\\w*Backend\\.js$",
  message: "internal/ never imports a public engine: dependencies point one way."
}
const service = {
  regex: "^\\./FileLock\\.js$",
  message: "An engine does not know the service that runs on it: FileLock → LockBackend ← engines."
}

/** The imports a set of files may not have; each later block replaces the earlier one, so each names all of its own. */
const restrictImports = (files, patterns, ignores = []) => ({
  files,
  ignores,
  rules: { "no-restricted-imports": ["error", { patterns }] }
})

export default tseslint.config(
  {
    ignores: ["**/node_modules", "**/dist", "**/coverage", "docs", "**/*.md"]
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
  restrictImports(["test/**/*.ts", "bench/**/*.ts", "scripts/**/*.ts"], [barrel], ["test/index.test.ts"]),
  {
    files: src,
    rules: {
      "no-console": "error",
      "no-restricted-globals": [
        "error",
        ...["setTimeout", "setInterval", "setImmediate", "performance"].map((name) => ({
          name,
          message: "Time comes from Clock and Effect.sleep."
        }))
      ],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "Ask Clock: a test has to be able to move the time." },
        { object: "Math", property: "random", message: "Ask Random: a test has to be able to repeat a run." }
      ],
      "no-restricted-syntax": ["error", spreadPush, missingExtension, dateNow],
      "@effect/no-import-from-barrel-package": ["error", { packageNames: ["effect", "@effect/platform"] }]
    }
  },
  {
    files: src,
    ignores: program,
    rules: {
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "Ask Clock: a test has to be able to move the time." },
        { object: "Math", property: "random", message: "Ask Random: a test has to be able to repeat a run." },
        ...["runCallback", "runFork", "runPromise", "runPromiseExit", "runSync", "runSyncExit"].flatMap((property) =>
          ["Effect", "Runtime"].map((object) => ({
            object,
            property,
            message: "A library describes effects; only the program at the edge runs them."
          }))
        )
      ]
    }
  },
  {
    files: src,
    ignores: knowsNode,
    rules: {
      "no-restricted-globals": [
        "error",
        ...["setTimeout", "setInterval", "setImmediate", "performance"].map((name) => ({
          name,
          message: "Time comes from Clock and Effect.sleep."
        })),
        ...["process", "Buffer", "require", "__dirname", "__filename"].map((name) => ({
          name,
          message: "Only ProcessIdentity knows Node; everything else goes through @effect/platform."
        }))
      ]
    }
  },
  restrictImports(src, [barrel, nodeBuiltins], knowsNode),
  restrictImports(knowsNode, [barrel]),
  restrictImports(["src/*Backend.ts"], [barrel, nodeBuiltins, service]),
  restrictImports(["src/internal/**/*.ts"], [barrel, nodeBuiltins, publicEngine], knowsNode),
  restrictImports(["src/internal/process*.ts", "src/internal/process*/**/*.ts"], [barrel, publicEngine])
)
