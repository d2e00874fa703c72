import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Blocked } from "../LockBackend.js"
import { LockHolder, maxLabelLength } from "../LockHolder.js"
import type { ProcessIdentity } from "../ProcessIdentity.js"

/** This process as the holder of the acquisition with this token. */
export const of = (
  { info }: ProcessIdentity,
  token: string,
  acquiredAt: DateTime.Utc,
  label: string | undefined
): LockHolder => ({
  ...info,
  token,
  acquiredAt,
  ...(label === undefined ? {} : { label: label.slice(0, maxLabelLength) })
})

/** The same with a token of its own. The engine retires the token when the acquisition is over. */
export const make = (identity: ProcessIdentity, label: string | undefined): Effect.Effect<LockHolder> =>
  Effect.zipWith(identity.issueToken, DateTime.now, (token, acquiredAt) => of(identity, token, acquiredAt, label))

/** Another holder has the lock, or this process by another layer. */
export const blockedBy = ({ info }: ProcessIdentity, holder: LockHolder | undefined): Blocked => ({
  state: "held",
  reason: "Timeout",
  holder,
  ...(holder?.instance === info.instance
    ? { isOwn: true, cause: new Error("through another FileLock layer of this process") }
    : {})
})

/** The text that other processes read. By hand: an engine writes one for each acquisition, and a schema takes its time. */
export const encode = (holder: LockHolder): string =>
  JSON.stringify({ ...holder, acquiredAt: DateTime.formatIso(holder.acquiredAt) })

/** The holder that a text of another process names; nothing for any other text. */
export const decode = Schema.decodeUnknownOption(Schema.parseJson(LockHolder))
