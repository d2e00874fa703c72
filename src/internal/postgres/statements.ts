import * as Option from "effect/Option"
import * as Crypto from "node:crypto"
import type { Mode } from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import * as OwnHolder from "../ownHolder.js"
import { longestKeepAlive } from "./session.js"

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
 * first asterisk with a slash, and begins at another one: in here there is no asterisk. Nor is there a character that the encoding of
 * the database may not have: the server refuses a statement with such a one.
 */
export const signed = (holder: LockHolder, statement: string): string => {
  const signature = signatures.get(holder) ?? sign(holder)
  signatures.set(holder, signature)
  return signature + statement
}

const signatures = new WeakMap<LockHolder, string>()

/** A label that is too long is cut. */
const sign = (holder: LockHolder): string => {
  const comment = (label: string | undefined) => {
    const { label: _, ...rest } = holder
    const text = OwnHolder.encode(label === undefined ? rest : { ...rest, label }).replace(
      /[^\x20-\x7e]|\*/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
    )
    return `${mark}${text} */ `
  }
  let { label } = holder
  let signature = comment(label)
  while (label !== undefined && Buffer.byteLength(signature) > kept) {
    label = label === "" ? undefined : label.slice(0, label.length >> 1)
    signature = comment(label)
  }
  return signature
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
 * before its holder counts it as ended: so the keepalives take a lease together, and so does what is sent and not confirmed
 * (`tcp_user_timeout`). Limits that a role sets for its statements are not for a statement that waits for a lock. A number that was given
 * out must be on the server's disk, or another would have it after a crash (`synchronous_commit`).
 */
export const prepare = (sequence: string, lease: number): string => {
  const seconds = Math.max(1, Math.ceil(lease / 1000))
  const interval = Math.max(1, Math.ceil(seconds / 4))
  const settings = {
    idle_session_timeout: Math.ceil(lease),
    client_connection_check_interval: Math.ceil(Math.min(1000, lease / 3)),
    tcp_keepalives_idle: Math.min(Math.max(1, seconds - 2 * interval), longestKeepAlive),
    tcp_keepalives_interval: Math.min(interval, longestKeepAlive),
    tcp_keepalives_count: 2,
    tcp_user_timeout: Math.ceil(lease),
    statement_timeout: 0,
    lock_timeout: 0,
    idle_in_transaction_session_timeout: 0,
    transaction_timeout: 0,
    default_transaction_read_only: "off",
    default_transaction_isolation: "read committed",
    synchronous_commit: "on"
  }
  return `
    select set_config(name, value, false)
    from (values ${
    Object.entries(settings).map(([name, value]) => `('${name}', '${value}')`).join(", ")
  }) as wanted (name, value)
    where current_setting(name, true) is not null
      and (name <> 'synchronous_commit' or current_setting(name) = 'off');
    select
      pg_backend_pid() as pid,
      pg_is_in_recovery() as standby,
      current_setting('server_version_num')::int as version,
      (select json_build_object(
         'cache', seqcache, 'increment', seqincrement, 'cycle', seqcycle, 'logged', relpersistence = 'p')
       from pg_sequence join pg_class c on c.oid = seqrelid where seqrelid = to_regclass(${
    literal(identifier(sequence))
  })) as sequence`
}

/** Each session takes one number at a time: a session that had several of them in store would give out one that is too low. */
export const createSequence = (sequence: string): string =>
  `create sequence if not exists ${identifier(sequence)} as bigint increment 1 minvalue 1 cache 1 no cycle`

/** The process of the server that runs a statement. */
export const askProcess = "select pg_backend_pid() as pid"

/** The same, in a transaction that goes on. */
export const beginAndAsk = `begin; ${askProcess}`

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

const isAt = (key: string): string => `
  l.locktype = 'advisory' and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and ((l.classid::bigint << 32) | l.objid::bigint) = ${key}`

/** The sessions that hold a lock, then those that wait for it, those that have waited for longer in front. */
export const sessionsOf = (key: string): string => `
  select l.pid, l.granted, l.mode, a.query
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
  where ${isAt(key)}
  order by l.granted desc, l.waitstart nulls last, l.pid`

/** Ends a session that has a lock, and waits for that for at most five seconds. It may have the lock no more, and another one. */
export const terminate = (key: string, pid: number): string =>
  `select pg_terminate_backend(l.pid, 5000) as ended from pg_locks l where l.pid = ${pid} and l.granted and ${
    isAt(key)
  }`
