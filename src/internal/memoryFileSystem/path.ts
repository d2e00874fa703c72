/*
 * POSIX paths as `node:path` has them. The library does without `node:*`, and `@effect/platform`'s `Path` is a service that
 * a file system must not ask its user for.
 */

const collapse = (path: string, absolute: boolean): string => {
  const out: Array<string> = []
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue
    if (part !== "..") out.push(part)
    else if (out.length > 0 && out[out.length - 1] !== "..") out.pop()
    else if (!absolute) out.push("..")
  }
  return out.join("/")
}

/** @internal */
export const isAbsolute = (path: string): boolean => path.startsWith("/")

/** @internal */
export const normalize = (path: string): string => {
  if (path === "") return "."
  const absolute = isAbsolute(path)
  const collapsed = collapse(path, absolute)
  if (collapsed === "") return absolute ? "/" : path.endsWith("/") ? "./" : "."
  return `${absolute ? "/" : ""}${collapsed}${path.endsWith("/") ? "/" : ""}`
}

/** @internal */
export const join = (...parts: ReadonlyArray<string>): string =>
  normalize(parts.filter((part) => part !== "").join("/"))

/** @internal */
export const resolve = (cwd: string, ...parts: ReadonlyArray<string>): string => {
  let path = ""
  for (let i = parts.length - 1; i >= 0 && !isAbsolute(path); i--) {
    const part = parts[i]
    if (part !== undefined && part !== "") path = path === "" ? part : `${part}/${path}`
  }
  return `/${collapse(isAbsolute(path) ? path : `${cwd}/${path}`, true)}`
}

/** @internal */
export const dirname = (path: string): string => {
  const trimmed = path.replace(/(?<=.)\/+$/, "")
  const slash = trimmed.lastIndexOf("/")
  if (slash < 0) return "."
  return trimmed.slice(0, slash).replace(/(?<=.)\/+$/, "") || "/"
}

/** @internal */
export const basename = (path: string): string => {
  const trimmed = path.replace(/\/+$/, "")
  return trimmed.slice(trimmed.lastIndexOf("/") + 1)
}

/** @internal */
export const relative = (cwd: string, from: string, to: string): string => {
  const a = resolve(cwd, from).split("/").filter(Boolean)
  const b = resolve(cwd, to).split("/").filter(Boolean)
  let same = 0
  while (same < a.length && same < b.length && a[same] === b[same]) same++
  return [...a.slice(same).map(() => ".."), ...b.slice(same)].join("/")
}

/** @internal */
export const byteLength = (text: string): number => new TextEncoder().encode(text).length

/**
 * What a name is after a trip through the kernel's bytes: half a surrogate pair does not survive it.
 *
 * @internal
 */
export const wellFormed = (text: string): string =>
  /[\uD800-\uDFFF]/.test(text) ? new TextDecoder().decode(new TextEncoder().encode(text)) : text

/**
 * The order of the UTF-8 bytes, in which libuv sorts a directory.
 *
 * @internal
 */
export const compareBytes = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) return (a.codePointAt(i) ?? 0) - (b.codePointAt(i) ?? 0)
  }
  return a.length - b.length
}
