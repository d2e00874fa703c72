/**
 * How many of the places where a process may be killed are tried.
 */

/** Each one in `.ci/run` and for the seeded bugs; elsewhere each second one, or third, or fifth. */
export const distanceOf = (usual: number): number => process.env["KILL_POINTS"] === "all" ? 1 : usual
