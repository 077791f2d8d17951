/** Redis: version, speed, rights and memory. Writes one key that ends after a second, as the gateway does. */
import type { Clock } from '../../platform/lib/clock.ts'
import { causeText } from '../../platform/lib/errors.ts'
import { parseRedisUrl } from '../../platform/redis/connect.ts'
import { causeOf, kindOf } from '../../platform/redis/error-kinds.ts'
import { askRedis, type RedisConnection } from '../../platform/redis/ping.ts'
import { sizeText } from './database.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'

const TIMEOUT_MS = 3000
const OLDEST = 5
/** The gateway gives each call 50 ms. */
const SLOW_MS = 25
const FULL = 0.9
const KEY = 'portcullis:probe'
const RIGHTS = '~portcullis:* &portcullis:* +@connection +@scripting +@transaction +@read +@write +@pubsub +time'

export async function redisRows(url: string, clock: Clock): Promise<Row[]> {
  if (url === 'memory') return [rowOf('Redis', ok('none: this process counts the limits'))]
  const { hosts, kind, secrets } = parseRedisUrl(url)
  const name = `Redis ${hosts.map(({ host, port }) => `${host}:${port}`).join(', ')}`
  try {
    return await askRedis(url, TIMEOUT_MS, async (redis) => [
      rowOf(name, await judgeServer(redis, clock)),
      rowOf('Redis memory', await judgeMemory(redis, secrets)),
      // last: it leaves the connection with a subscription
      rowOf('Redis rights', await judgeRights(redis, kind === 'cluster', secrets)),
    ])
  } catch (error) {
    return [rowOf(name, unreachable(error))]
  }
}

function unreachable(error: unknown): Finding {
  const cause = causeText(error)
  const isPassword = kindOf(error) === 'auth' || /NOAUTH|WRONGPASS|invalid password/.test(cause)
  return fail(
    isPassword ? `refuses the password: ${cause}` : `does not answer: ${cause}`,
    isPassword ? 'correct the user and the password in REDIS_URL (redis.url)' : 'start it, or correct REDIS_URL (redis.url)',
  )
}

async function judgeServer(redis: RedisConnection, clock: Clock): Promise<Finding> {
  const before = clock.steady()
  await redis.ping()
  const latencyMs = clock.steady() - before
  const version = await versionOf(redis)
  const speed = `answers in ${latencyMs.toFixed(1)} ms`
  if (version === null) return notChecked(`${speed}; its version may not be read by this user`, `let the user run HELLO: +@connection`)
  const found = `version ${version}, ${speed}`
  if (Number.parseInt(version, 10) < OLDEST) return fail(found, `upgrade to Redis ${OLDEST} or newer`)
  if (latencyMs > SLOW_MS) return warn(found, 'the gateway waits 50 ms for each call: bring Redis nearer, or look at its load')
  return ok(found)
}

/** HELLO is for every user; servers before 6 know only INFO. */
async function versionOf(redis: RedisConnection): Promise<string | null> {
  try {
    const reply = (await redis.call('HELLO')) as unknown[]
    const at = Array.isArray(reply) ? reply.indexOf('version') : -1
    if (at >= 0) return String(reply[at + 1])
  } catch {
    // an older server
  }
  const info = await redis.info('server').catch(() => '')
  return /^redis_version:(\S+)/m.exec(info)?.[1] ?? null
}

/** One command of each kind that the gateway uses. */
const COMMANDS: readonly [name: string, run: (redis: RedisConnection) => Promise<unknown>][] = [
  ['scripts with TIME and SET', (redis) => redis.eval(`redis.call('TIME') return redis.call('SET', KEYS[1], '1', 'PX', 1000)`, 1, KEY)],
  ['GET', (redis) => redis.get(KEY)],
  ['MULTI', (redis) => redis.multi().get(KEY).exec()],
  ['PUBLISH', (redis) => redis.publish('portcullis:doctor', '')],
]

async function judgeRights(redis: RedisConnection, isCluster: boolean, secrets: readonly string[]): Promise<Finding> {
  const errors: { name: string; error: unknown }[] = []
  for (const [name, run] of COMMANDS)
    await run(redis).catch((error: unknown) => {
      // the node of a cluster that has the key is another one
      if (!(isCluster && kindOf(error) === 'moved')) errors.push({ name, error })
    })
  await redis.subscribe('portcullis:doctor').catch((error: unknown) => errors.push({ name: 'SUBSCRIBE', error }))
  const [first] = errors
  if (!first) return ok('may read, write, run scripts and use channels')
  const found = `${errors.map(({ name }) => name).join(', ')}: ${causeOf(first.error, secrets)}`
  switch (kindOf(first.error)) {
    case 'noperm':
      return fail(found, `give the user these rights: ACL SETUSER the_user ${RIGHTS}`)
    case 'oom':
      return fail(found, 'raise maxmemory of Redis, or free memory')
    case 'readonly':
      return fail(found, 'this server is a replica: name the master in REDIS_URL (redis.url), or use Sentinels')
    default:
      return fail(found, 'look at the log of Redis')
  }
}

const judgeMemory = (redis: RedisConnection, secrets: readonly string[]): Promise<Finding> =>
  redis
    .info('memory')
    .then(judgeMemoryInfo, (error: unknown) => notChecked(`INFO: ${causeOf(error, secrets)}`, 'let the user run it: +info'))

export function judgeMemoryInfo(info: string): Finding {
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1]
  const [used, max, policy] = [Number(field('used_memory')), Number(field('maxmemory')), field('maxmemory_policy')]
  if (!Number.isFinite(used) || !Number.isFinite(max) || policy === undefined) return notChecked('this server does not show its memory')
  const found = `${sizeText(used)} of ${max === 0 ? 'no limit' : sizeText(max)}, ${policy}`
  if (max === 0) return ok(found)
  if (used > max * FULL) return warn(found, 'raise maxmemory of Redis: limits cannot be counted when it is full')
  if (policy !== 'noeviction') return warn(found, 'eviction loses counts of limits. Run: redis-cli CONFIG SET maxmemory-policy noeviction')
  return ok(found)
}
