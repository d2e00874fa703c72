import type { Mutant } from "./Mutant.js"
import { processMutants } from "./processMutants.js"
import { protocolMutants } from "./protocolMutants.js"
import { serviceMutants } from "./serviceMutants.js"
import { waitingMutants } from "./waitingMutants.js"

/** Every bug that is seeded. */
export const mutants: ReadonlyArray<Mutant> = [
  ...protocolMutants,
  ...processMutants,
  ...serviceMutants,
  ...waitingMutants
]
