/**
 * Where it was measured, as far as it matters to a reader elsewhere.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"

/** Of statfs(2); the rest is given as its number. */
const fileSystems = new Map([
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlayfs"],
  [0x9123683e, "btrfs"],
  [0x58465342, "xfs"],
  [0x2fc12fc1, "zfs"],
  [0x6969, "nfs"]
])

/** The machine in a sentence's part; `directory` is where the locks will lie. */
export const describe = (directory: string): string => {
  const { type } = Fs.statfsSync(directory)
  return [
    `Node ${process.version}`,
    `${process.platform} ${process.arch}`,
    `${Os.availableParallelism()} processors`,
    fileSystems.get(type) ?? `file system 0x${type.toString(16)}`,
    `a load of ${(Os.loadavg()[0] ?? 0).toFixed(1)} before it began`
  ].join(", ")
}
