/**
 * The used part of the chart libraries. So this repository compiles where only its root is installed.
 */
declare module "vega" {
  export interface Runtime {
    readonly _: unique symbol
  }
  export const parse: (spec: object) => Runtime
  export class View {
    constructor(runtime: Runtime, options: { readonly renderer: "none" })
    toSVG(): Promise<string>
  }
}

declare module "vega-lite" {
  export const compile: (spec: object) => { readonly spec: object }
}
