import { handoverMutants } from "./handoverMutants.js"
import { lockFileMutants } from "./lockFileMutants.js"
import { lockMutants } from "./lockMutants.js"
import type { Mutant } from "./Mutant.js"
import { processMutants } from "./processMutants.js"
import { sharedMutants } from "./sharedMutants.js"

/** All seeded bugs. */
export const mutants: ReadonlyArray<Mutant> = [
  ...lockFileMutants,
  ...processMutants,
  ...lockMutants,
  ...sharedMutants,
  ...handoverMutants
]
