/**
 * What the process of a command has from the script that runs `effect-filelock`: its descriptors and its environment.
 */
import * as NodeFS from "node:fs"

/** What is passed on has a number below this. */
const maxDescriptors = 64

/** A descriptor, what it is of, and whether one reads or writes there. */
interface Opened {
  readonly descriptor: number
  readonly link: string
  readonly mode: number
}

/** What a process has open; nothing where the system does not tell. */
const openedBy = (pid: number): ReadonlyArray<Opened> => {
  const directory = `/proc/${pid}/fd`
  try {
    return NodeFS.readdirSync(directory).flatMap((name) => {
      const path = `${directory}/${name}`
      try {
        return [{
          descriptor: Number(name),
          link: NodeFS.readlinkSync(path),
          mode: NodeFS.lstatSync(path).mode
        }]
      } catch {
        // The directory itself is open while it is read.
        return []
      }
    })
  } catch {
    return []
  }
}

/**
 * The descriptors, from 3 on, that this process was started with: a script may have opened a file for the command. Node does not pass them on by
 * itself, and has opened others, which are no files, or pipes with both ends. A pipe with both ends that the parent has, too, is none of Node.
 */
export const descriptors = (): ReadonlySet<number> => {
  const opened = openedBy(process.pid).filter(({ descriptor }) => descriptor > 2)
  const ofParent = new Set(openedBy(process.ppid).map(({ link }) => link))
  const isOneEnd = ({ link, mode }: Opened) => opened.every((other) => other.link !== link || other.mode === mode)
  return new Set(
    opened.filter((one) =>
      one.descriptor < maxDescriptors &&
      (/^(\/|socket:)/.test(one.link) || (one.link.startsWith("pipe:") && (isOneEnd(one) || ofParent.has(one.link))))
    ).map(({ descriptor }) => descriptor)
  )
}

/**
 * What the environment has and a shell may drop, since it has no names for it: the functions that bash exports, and names with dots. Each is
 * under a name that a shell keeps.
 */
export const variables = (): ReadonlyArray<readonly [name: string, text: string]> =>
  Object.entries(process.env).filter(([name]) => name !== "" && !/^[A-Za-z_]\w*$/.test(name)).map((
    [name, value],
    index
  ) => [`effect_filelock_${index}`, `${name}=${value ?? ""}`] as const)

export type Stdio = "inherit" | "ignore" | "pipe"

/** What becomes of each descriptor, up to the last one that is passed on. */
export const stdio = (kept: ReadonlySet<number>, pipe?: number): Array<Stdio> =>
  Array.from(
    { length: Math.max(2, pipe ?? 0, ...kept) + 1 },
    (_, descriptor) => descriptor === pipe ? "pipe" : descriptor < 3 || kept.has(descriptor) ? "inherit" : "ignore"
  )
