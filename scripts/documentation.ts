/**
 * What an editor shows of a module's exports.
 */
import ts from "typescript"

const documentationOf = (subject: ts.Symbol | ts.Signature, checker: ts.TypeChecker) => ({
  text: ts.displayPartsToString(subject.getDocumentationComment(checker)),
  tags: subject.getJsDocTags(checker).map(({ name, text }) => `@${name} ${ts.displayPartsToString(text)}`)
})

/**
 * What is missing from the documentation of an export: a description, `@since`, `@category`, and all of it on each signature of an
 * overloaded function. An editor shows a call the documentation of its signature; that of the constant is for functions with one signature.
 */
const missingFrom = (symbol: ts.Symbol, checker: ts.TypeChecker): ReadonlyArray<string> => {
  const own = documentationOf(symbol, checker)
  const signatures = checker.getTypeOfSymbol(symbol).getCallSignatures()
  return [
    ...(own.text === "" ? ["a description"] : []),
    ...["@since", "@category"].filter((tag) => !own.tags.some((text) => text.startsWith(`${tag} `))),
    ...signatures.flatMap((signature, index) =>
      signatures.length > 1 && JSON.stringify(documentationOf(signature, checker)) !== JSON.stringify(own)
        ? [`its documentation on signature ${index + 1}`]
        : []
    )
  ]
}

/** What is missing from the documentation of the modules that a file imports, as an editor with these options resolves them. */
export const missingDocumentation = (file: string, options: ts.CompilerOptions): ReadonlyArray<string> => {
  const program = ts.createProgram([file], options)
  const checker = program.getTypeChecker()
  const statements: ReadonlyArray<ts.Statement> = program.getSourceFile(file)?.statements ?? []
  return statements.filter(ts.isImportDeclaration).flatMap(({ moduleSpecifier }) => {
    const module = checker.getSymbolAtLocation(moduleSpecifier)
    if (module === undefined) return [`${moduleSpecifier.getText()} is not found`]
    return checker.getExportsOfModule(module).flatMap((symbol) =>
      missingFrom(symbol, checker).map((missing) => `${moduleSpecifier.getText()}: ${symbol.name} lacks ${missing}`)
    )
  })
}
