/**
 * What the server runs, each script as one step. `KEYS[1]` is the lock: a string, the record of its holder. `KEYS[2]` is a hash with
 * `fence`, the number of the last grant, `token`, that of the last holder, and `released`, the token of the holder that released last.
 * Answers are arrays of text. `gone` comes with what is in the place of the record, if anything is.
 */
import { fenceStep } from "../../LockBackend.js"

/** A number is not counted up to more than this: with what the core counts up from it, it is below 2^63. */
const largest = 2 ** 63 / fenceStep - 1

/** Something else than a string at the name of the lock is left alone. It is told of which type it is, and its full name. */
const read = `
local function refuse(key, failure)
  if string.find(failure.err, 'WRONGTYPE', 1, true) then
    return { 'foreign', redis.call('type', key).ok, key }
  end
  return failure
end
local value = redis.pcall('get', KEYS[1])
if type(value) == 'table' then
  return refuse(KEYS[1], value)
end
`

/** Those that wait are told how many they are. They look at regular intervals, too, so what does not work here is no error. */
const notify = (channel: string): string => `
local listeners = redis.pcall('pubsub', 'numsub', ${channel})
redis.pcall('publish', ${channel}, tostring(listeners[2] or 1))
`

/**
 * Arguments: record, lease, token, for how long the number is kept. A record that is there already is that of the same attempt, whose answer
 * was lost. The number is read first: what fails after the first write would not be undone.
 */
export const acquire = `${read}
if value and value ~= ARGV[1] then
  return { 'taken', value, tostring(redis.call('pttl', KEYS[1])) }
end
local last = redis.pcall('hmget', KEYS[2], 'fence', 'token', 'released')
if last.err then
  return refuse(KEYS[2], last)
end
local fence = tonumber(last[1] or '') or 0
if not (fence < ${largest}) then
  fence = 0
end
if not value or fence == 0 then
  local now = redis.call('time')
  fence = math.max(fence + 1, now[1] * 1000000 + now[2])
end
fence = string.format('%.0f', fence)
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
redis.call('hset', KEYS[2], 'fence', fence, 'token', ARGV[3])
redis.call('pexpire', KEYS[2], ARGV[4])
local silent = last[2] and last[2] ~= ARGV[3] and last[2] ~= last[3]
return { 'granted', fence, silent and 'silent' or 'released' }
`

/** Arguments: record, lease. */
export const renew = `${read}
if value ~= ARGV[1] then
  return { 'gone', value or nil }
end
redis.call('pexpire', KEYS[1], ARGV[2])
return { 'kept' }
`

/** Arguments: record, channel, token, for how long the token is kept. Where the answer to the first time was lost, it answers the second time as it did then. */
export const release = `${read}
if value ~= ARGV[1] then
  if redis.pcall('hget', KEYS[2], 'released') == ARGV[3] then
    return { 'released' }
  end
  return { 'gone', value or nil }
end
redis.call('del', KEYS[1])
redis.pcall('hset', KEYS[2], 'released', ARGV[3])
redis.pcall('pexpire', KEYS[2], ARGV[4])
${notify("ARGV[2]")}
return { 'released' }
`

export const inspect = `${read}
return { value and 'found' or 'free', value or nil }
`

/** Arguments: record, channel. Its holder has not released it, and the next one has not taken it over. */
export const remove = `${read}
if value ~= ARGV[1] then
  return { 'gone', value or nil }
end
redis.call('del', KEYS[1])
redis.pcall('hdel', KEYS[2], 'token')
${notify("ARGV[2]")}
return { 'removed' }
`
