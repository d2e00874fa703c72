/**
 * A test of fibers on a clock of its own may run from promise to promise. Many of them one after the other keep the process from hearing its runner,
 * which takes it for dead after a minute.
 */
import { afterEach } from "vitest"

afterEach(() => new Promise((resolve) => setImmediate(resolve)))
