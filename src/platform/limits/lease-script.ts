/** The rule of windows.ts in Redis: one script, one key, the clock of Redis. */
import type { RedisClient } from '../redis/redis.ts'
import { SUB_WINDOWS } from './windows.ts'

export interface LeaseRequest {
  key: string
  limit: number
  windowSeconds: number
  /** Requests that wait: granted as far as the limit allows. */
  need: number
  /** Requested in advance: at most half of the rest is granted, so that other processes get some too. */
  want: number
  /** Requests that were granted in sub-window `returnedFrom` and never used. */
  returned: number
  returnedFrom: number
}

export interface LeaseGrant {
  granted: number
  /** The rest of the limit, after the grant. */
  left: number
  /** The sub-window in which the grant is counted and may be used. */
  subWindow: number
  /** Until the sub-window ends. */
  endsInMs: number
  /** Until some counted requests no longer count. */
  freesInMs: number
}

export type AskForLease = (request: LeaseRequest) => Promise<LeaseGrant>

/** Each hash field is a sub-window: how many requests were granted in it, and until when they count. */
const SCRIPT = `
local length, limit, need, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local returned, returned_from = tonumber(ARGV[5]), ARGV[6]
local time = redis.call('TIME')
local now = ARGV[7] == '' and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[7])
local span = length * ${SUB_WINDOWS}
local index = math.floor(now / length)
local ends = (index + 1) * length
local current = string.format('%.0f', index)
local used, frees, mine, mine_until = 0, ends + span, 0, 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local name = fields[i]
  local n, counts_until = string.match(fields[i + 1], '(%d+) (%d+)')
  n, counts_until = tonumber(n), tonumber(counts_until)
  local kept = name == returned_from and math.max(0, n - returned) or n
  -- a clock that was set back must not block requests for longer than this
  local kept_until = math.min(counts_until, ends + span)
  if kept == 0 or kept_until <= now then
    redis.call('HDEL', KEYS[1], name)
  else
    if kept ~= n or kept_until ~= counts_until then redis.call('HSET', KEYS[1], name, string.format('%.0f %.0f', kept, kept_until)) end
    used = used + kept
    frees = math.min(frees, kept_until)
    if name == current then mine, mine_until = kept, kept_until end
  end
end
local left = math.max(0, limit - used)
local granted = math.min(left, math.max(need, math.min(want, math.floor(left / 2))))
if granted > 0 then
  -- requests that wait are used now, the rest at any time before the sub-window ends
  local counts_until = math.max(mine_until, (granted > need and ends or now) + span)
  redis.call('HSET', KEYS[1], current, string.format('%.0f %.0f', mine + granted, counts_until))
  redis.call('PEXPIRE', KEYS[1], span + length)
  if used == mine then frees = counts_until end
end
return { granted, left - granted, index, ends - now, frees - now }`

/** ioredis sends the hash of the script, and the script itself when Redis does not know the hash. */
interface WithScript {
  portcullisLease(key: string, ...args: (string | number)[]): Promise<[number, number, number, number, number]>
}

/** @param now replaces the clock of Redis in tests: milliseconds */
export function createLeaseScript(client: RedisClient, now: () => number | '' = () => ''): AskForLease {
  client.defineCommand('portcullisLease', { numberOfKeys: 1, lua: SCRIPT })
  const { portcullisLease } = client as unknown as WithScript
  return async ({ key, limit, windowSeconds, need, want, returned, returnedFrom }) => {
    const length = (windowSeconds * 1000) / SUB_WINDOWS
    const answer = await portcullisLease.call(client, key, length, limit, need, want, returned, returnedFrom, now())
    const [granted, left, subWindow, endsInMs, freesInMs] = answer
    return { granted, left, subWindow, endsInMs, freesInMs }
  }
}
