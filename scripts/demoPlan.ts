/**
 * What the demonstration does.
 */

/** The workers. */
export const names = ["worker-1", "worker-2", "worker-3", "worker-4"]

/** Killed while it holds the lock. */
export const victimName = "worker-2"

/** How many tasks each worker adds. */
export const tasksEach = 25

/** The first line. */
export const headline =
  `${names.length} processes, ${tasksEach} tasks each, one JSON file: read it, add a task, write it back.`
