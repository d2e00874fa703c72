/**
 * The machine of a measurement, as far as the results depend on it.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"

/** File system types of statfs(2). Other types are printed as numbers. */
const fileSystems = new Map([
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlayfs"],
  [0x9123683e, "btrfs"],
  [0x58465342, "xfs"],
  [0x2fc12fc1, "zfs"],
  [0x6969, "nfs"]
])

/** Describes the machine. `directory` is on the file system of the locks. */
export const describe = (directory: string): string => {
  const { type } = Fs.statfsSync(directory)
  return [
    `Node ${process.version}`,
    `${process.platform} ${process.arch}`,
    `${Os.availableParallelism()} processors`,
    fileSystems.get(type) ?? `file system 0x${type.toString(16)}`,
    `a load of ${(Os.loadavg()[0] ?? 0).toFixed(1)} before the start`
  ].join(", ")
}
