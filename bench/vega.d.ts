/**
 * What is used of the libraries that draw: types hold where only the root of this repository is installed.
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
