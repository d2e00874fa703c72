import * as NodeFS from "node:fs"
import * as NodeTTY from "node:tty"

/**
 * Leaves the terminal as it is when this process exits. Node would give it back the modes of the start: the command may have chosen others,
 * and so may a program that is in the foreground meanwhile. It looks for them at these descriptors.
 */
export const leaveAlone = (): void => {
  process.once("exit", () => {
    for (const descriptor of [0, 1, 2]) {
      if (NodeTTY.isatty(descriptor)) NodeFS.closeSync(descriptor)
    }
  })
}
