import * as Error_ from "@effect/platform/Error"

/** @internal */
export const numbers = {
  EPERM: [1, "operation not permitted"],
  ENOENT: [2, "no such file or directory"],
  EINTR: [4, "interrupted system call"],
  EIO: [5, "i/o error"],
  ENXIO: [6, "no such device or address"],
  EBADF: [9, "bad file descriptor"],
  EAGAIN: [11, "resource temporarily unavailable"],
  ENOMEM: [12, "not enough memory"],
  EACCES: [13, "permission denied"],
  EBUSY: [16, "resource busy or locked"],
  EEXIST: [17, "file already exists"],
  EXDEV: [18, "cross-device link not permitted"],
  ENODEV: [19, "no such device"],
  ENOTDIR: [20, "not a directory"],
  EISDIR: [21, "illegal operation on a directory"],
  EINVAL: [22, "invalid argument"],
  ENFILE: [23, "file table overflow"],
  EMFILE: [24, "too many open files"],
  ETXTBSY: [26, "text file is busy"],
  EFBIG: [27, "file too large"],
  ENOSPC: [28, "no space left on device"],
  ESPIPE: [29, "invalid seek"],
  EROFS: [30, "read-only file system"],
  EMLINK: [31, "too many links"],
  EPIPE: [32, "broken pipe"],
  ENAMETOOLONG: [36, "name too long"],
  ENOSYS: [38, "function not implemented"],
  ENOTEMPTY: [39, "directory not empty"],
  ELOOP: [40, "too many symbolic links encountered"],
  EOVERFLOW: [75, "value too large for defined data type"],
  ENOTSUP: [95, "operation not supported on socket"],
  ENETUNREACH: [101, "network is unreachable"],
  ECONNRESET: [104, "connection reset by peer"],
  ETIMEDOUT: [110, "connection timed out"],
  EHOSTDOWN: [112, "host is down"],
  EHOSTUNREACH: [113, "host is unreachable"],
  ESTALE: [116, "stale file handle"],
  EDQUOT: [122, "disk quota exceeded"],
  EREMOTEIO: [121, "remote I/O error"]
} as const satisfies Record<string, readonly [errno: number, text: string]>

/** @internal */
export type Code = keyof typeof numbers

const isCode = (code: string): code is Code => Object.hasOwn(numbers, code)

/**
 * What the synchronous kernel throws: an error number, without a notion of who asked.
 *
 * @internal
 */
export class Errno {
  constructor(readonly code: Code) {}
}

/**
 * Thrown where a real kernel would put the calling thread to sleep with nobody to wake it.
 *
 * @internal
 */
export class Blocked {}

/**
 * Where an error came from, as Node puts it on the error object.
 *
 * @internal
 */
export interface Origin {
  readonly syscall: string
  readonly path?: string | undefined
  readonly dest?: string | undefined
}

/**
 * The error Node's own `fs` would have given, with the same fields: programs look at `code`.
 *
 * @internal
 */
export class NodeError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  readonly path?: string
  readonly dest?: string
  constructor(code: string, errno: number, message: string, origin: Origin) {
    super(message)
    this.code = code
    this.errno = errno
    this.syscall = origin.syscall
    if (origin.path !== undefined) this.path = origin.path
    if (origin.dest !== undefined) this.dest = origin.dest
  }
}

/** @internal */
export const nodeError = (code: string, origin: Origin): NodeError => {
  const [errno, text] = isCode(code) ? numbers[code] : [0, "unknown error"] as const
  const where = origin.path === undefined ? "" : ` '${origin.path}'`
  const to = origin.dest === undefined ? "" : ` -> '${origin.dest}'`
  return new NodeError(code, -errno, `${code}: ${text}, ${origin.syscall}${where}${to}`, origin)
}

/**
 * An error of Node's JavaScript rather than of the kernel (`fs.rm`, `fs.cp`): a code of its own, and a positive number.
 *
 * @internal
 */
export const nodeSystemError = (
  code: string,
  errno: Code,
  summary: string,
  detail: string,
  origin: Origin
): NodeError =>
  new NodeError(
    code,
    numbers[errno][0],
    `${summary}: ${origin.syscall} returned ${errno} (${detail})${origin.path === undefined ? "" : ` ${origin.path}`}`,
    origin
  )

class InvalidArgument extends TypeError {
  readonly code = "ERR_INVALID_ARG_VALUE"
}

const reasons: Record<string, Error_.SystemErrorReason> = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource",
  EBUSY: "Busy",
  ELOOP: "BadResource"
}

/**
 * How a platform error calls an errno.
 *
 * @internal
 */
export const reasonOf = (code: string): Error_.SystemErrorReason => reasons[code] ?? "Unknown"

/** @internal */
export const systemError = (
  method: string,
  pathOrDescriptor: string | number,
  cause: NodeError | InvalidArgument
): Error_.SystemError =>
  new Error_.SystemError({
    reason: reasonOf(cause.code),
    module: "FileSystem",
    method,
    pathOrDescriptor,
    syscall: cause instanceof NodeError ? cause.syscall : undefined,
    description: cause.message,
    cause
    // Checked by the types. Tests make hundreds of thousands of these.
  }, { disableValidation: true })

class OutOfRange extends RangeError {
  readonly code = "ERR_OUT_OF_RANGE"
}

/** @internal */
export const invalidPath = (path: string): InvalidArgument => {
  const shown = `'${path.replaceAll("\0", "\\x00")}'`
  const received = shown.length > 128 ? `${shown.slice(0, 128)}...` : shown
  return new InvalidArgument(
    `The argument 'path' must be a string, Uint8Array, or URL without null bytes. Received ${received}`
  )
}

/** @internal */
export const outOfRange = (name: string, expected: string, received: number | bigint): RangeError =>
  new OutOfRange(`The value of "${name}" is out of range. It must be ${expected}. Received ${received}`)

/** @internal */
export const badArgument = (method: string, cause: unknown): Error_.BadArgument =>
  new Error_.BadArgument({ module: "FileSystem", method, cause })
