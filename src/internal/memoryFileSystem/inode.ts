/*
 * What lies on the disk: inodes, and the directory entries that name them.
 */

/** @internal */
export const S_ISUID = 0o4000
/** @internal */
export const S_ISGID = 0o2000
/** @internal */
export const S_ISVTX = 0o1000
/** @internal */
export const S_IXGRP = 0o0010
/** @internal */
export const S_IRWXUGO = 0o0777
/** @internal */
export const S_IALLUGO = 0o7777

interface Common {
  readonly ino: number
  /** Permission bits; the type is the tag. */
  mode: number
  uid: number
  gid: number
  nlink: number
  /** Open handles: they keep an inode, and what it occupies, beyond its last name. */
  handles: number
  atime: number
  mtime: number
  ctime: number
  readonly birthtime: number
}

/** @internal */
export interface File extends Common {
  readonly type: "File"
  /** What was ever written. The file may be longer: the rest is a hole, and reads as zeros. */
  data: Uint8Array
  stored: number
  size: number
}

/** @internal */
export interface Directory extends Common {
  readonly type: "Directory"
  readonly entries: Map<string, Entry>
  /** The root alone has none, and is its own. */
  parent: Directory | undefined
}

/** @internal */
export interface SymbolicLink extends Common {
  readonly type: "SymbolicLink"
  readonly target: string
}

/** @internal */
export interface Special extends Common {
  readonly type: "FIFO" | "Socket" | "CharacterDevice" | "BlockDevice"
}

/** @internal */
export type Inode = File | Directory | SymbolicLink | Special

/**
 * A name in a directory. It keeps its identity through a rename, so an open handle knows its present name.
 *
 * @internal
 */
export interface Entry {
  readonly node: Inode
  parent: Directory
  name: string
}

const formats: Record<Inode["type"], number> = {
  FIFO: 0o010000,
  CharacterDevice: 0o020000,
  Directory: 0o040000,
  BlockDevice: 0o060000,
  File: 0o100000,
  SymbolicLink: 0o120000,
  Socket: 0o140000
}

/** @internal */
export const fullMode = (node: Inode): number => formats[node.type] | node.mode

/** @internal */
export const blockSize = 4096

/** @internal */
export const sizeOf = (node: Inode): number => {
  switch (node.type) {
    case "File":
      return node.size
    case "Directory":
      return blockSize
    case "SymbolicLink":
      return new TextEncoder().encode(node.target).length
    default:
      return 0
  }
}
