import * as Option from "effect/Option"
import * as Crypto from "node:crypto"
import type { Mode } from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import * as OwnHolder from "../ownHolder.js"

/** The number of a lock: advisory locks are named by 64 bits. Two names are taken for one with a probability of 2^-64. */
export const keyOf = (namespace: string, path: string): string =>
  Crypto.createHash("sha256").update(`${namespace}\0${path}`).digest().readBigInt64BE(0).toString()

/** A text in quotes, whatever the server takes a backslash for. */
const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** The name of a sequence, perhaps with its schema in front, as SQL has it. */
export const identifier = (name: string): string =>
  name.split(".").map((part) => `"${part.replaceAll("\"", "\"\"")}"`).join(".")

// ---------------------------------------------------------------------------------------------
// who runs a statement
// ---------------------------------------------------------------------------------------------

/** The server keeps this much of a statement by default (`track_activity_query_size`), in bytes. */
const kept = 1023

const mark = "/* effect-filelock "

/**
 * Puts the holder in front of a statement, where `pg_stat_activity` shows it to the other sessions of the role. A comment ends at the
 * first asterisk with a slash, and begins at another one: in here there is no asterisk.
 */
export const signed = (holder: LockHolder, statement: string): string => {
  const comment = (label: string | undefined) => {
    const { label: _, ...rest } = holder
    const text = OwnHolder.encode(label === undefined ? rest : { ...rest, label }).replaceAll("*", "\\u002a")
    return `${mark}${text} */ `
  }
  let label = holder.label
  while (label !== undefined && Buffer.byteLength(comment(label)) > kept) {
    label = label === "" ? undefined : label.slice(0, label.length >> 1)
  }
  return comment(label) + statement
}

/** Who runs a statement; nothing for a statement of another program, or of another role. */
export const signer = (statement: unknown): Option.Option<LockHolder> => {
  if (typeof statement !== "string" || !statement.startsWith(mark)) return Option.none()
  const end = statement.indexOf(" */")
  return end < 0 ? Option.none() : OwnHolder.decode(statement.slice(mark.length, end))
}

// ---------------------------------------------------------------------------------------------
// a session
// ---------------------------------------------------------------------------------------------

/**
 * Prepares a session, and says what it is connected to. The lease is in milliseconds.
 *
 * The server ends a session that has sent nothing for a lease (`idle_session_timeout`), and one that waits while its connection is gone
 * (`client_connection_check_interval`, and the keepalives of TCP where the other end is silent). No other end of a session may come
 * before its holder counts it as ended: so the keepalives take a lease together. Limits that a role sets for its statements are not for a
 * statement that waits for a lock.
 */
export const prepare = (sequence: string, lease: number): string => {
  const seconds = Math.max(1, Math.ceil(lease / 1000))
  const interval = Math.max(1, Math.ceil(seconds / 4))
  const settings = {
    idle_session_timeout: Math.ceil(lease),
    client_connection_check_interval: Math.ceil(Math.min(1000, lease / 3)),
    tcp_keepalives_idle: Math.max(1, seconds - 2 * interval),
    tcp_keepalives_interval: interval,
    tcp_keepalives_count: 2,
    statement_timeout: 0,
    lock_timeout: 0,
    idle_in_transaction_session_timeout: 0,
    transaction_timeout: 0
  }
  return `
    select set_config(name, value, false)
    from (values ${
    Object.entries(settings).map(([name, value]) => `('${name}', '${value}')`).join(", ")
  }) as wanted (name, value)
    where current_setting(name, true) is not null;
    select
      pg_backend_pid() as pid,
      pg_is_in_recovery() as standby,
      current_setting('server_version_num')::int as version,
      (select json_build_object('cache', seqcache, 'increment', seqincrement, 'cycle', seqcycle)
       from pg_sequence where seqrelid = to_regclass(${literal(identifier(sequence))})) as sequence`
}

/** Each session takes one number at a time: a session that had several of them in store would give out one that is too low. */
export const createSequence = (sequence: string): string =>
  `create sequence if not exists ${identifier(sequence)} as bigint increment 1 minvalue 1 cache 1 no cycle`

/** Whether a transaction gets the same process of the server. */
export const beginAndAsk = "begin; select pg_backend_pid() as pid"

// ---------------------------------------------------------------------------------------------
// a lock
// ---------------------------------------------------------------------------------------------

const suffix = (mode: Mode): string => mode === "shared" ? "_shared" : ""

/**
 * Waits for the lock in the server's queue. The number is taken after the lock was granted: the name of the sequence depends on the grant,
 * so that no plan can have it earlier.
 */
export const lock = (key: string, mode: Mode, sequence: string): string => `
  with lock as materialized (select pg_advisory_lock${suffix(mode)}(${key})::text as granted)
  select nextval((case when granted is not null then ${
  literal(identifier(sequence))
} end)::regclass)::text as fence from lock`

/** Tries once; the number is null if the lock is taken. */
export const tryLock = (key: string, mode: Mode, sequence: string): string => `
  with lock as materialized (select pg_try_advisory_lock${suffix(mode)}(${key}) as granted)
  select nextval((case when granted then ${literal(identifier(sequence))} end)::regclass)::text as fence from lock`

export const unlock = (key: string, mode: Mode): string =>
  `select pg_advisory_unlock${suffix(mode)}(${key}) as unlocked`

/** Shows that the session lives, and for how long it may be silent again. */
export const heartbeat = "select 1"

/** The sessions that hold a lock, then those that wait for it, those that have waited for longer in front. */
export const sessionsOf = (key: string): string => `
  select l.pid, l.granted, l.mode, a.query
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and ((l.classid::bigint << 32) | l.objid::bigint) = ${key}
  order by l.granted desc, l.waitstart nulls last, l.pid`

/** Ends a session, and waits for that for at most five seconds. */
export const terminate = (pid: number): string => `select pg_terminate_backend(${pid}, 5000) as ended`
