export {
  claimOnClaimPath,
  claimPath,
  lockPath,
  path,
  play,
  type Process as Actor,
  type Scene as Stage,
  type Stop
} from "./Scene.js"
