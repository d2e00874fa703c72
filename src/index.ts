/**
 * @since 0.1.0
 */
export * as FileLock from "./FileLock.js"

/**
 * @since 0.1.0
 */
export * as FileLockMetrics from "./FileLockMetrics.js"

/**
 * @since 0.1.0
 */
export * as LockBackend from "./LockBackend.js"

/**
 * @since 0.1.0
 */
export * as LockError from "./LockError.js"

/**
 * @since 0.1.0
 */
export * as LockFileBackend from "./LockFileBackend.js"

/**
 * @since 0.1.0
 */
export * as LockHolder from "./LockHolder.js"

/**
 * @since 0.1.0
 */
export * as LockedFile from "./LockedFile.js"

/**
 * @since 0.1.0
 */
export * as MemoryFileSystem from "./MemoryFileSystem.js"

/**
 * @since 0.1.0
 */
export * as NodeFileLock from "./NodeFileLock.js"

/**
 * @since 0.1.0
 */
export * as ProcessIdentity from "./ProcessIdentity.js"

export {
  /**
   * @since 0.1.0
   */
  LockAcquisitionError,
  /**
   * @since 0.1.0
   */
  LockDirectoryError,
  /**
   * @since 0.1.0
   */
  LockLostError
} from "./LockError.js"
