/** Asks Redis for a sign of life, once. */
import { Redis } from 'ioredis'
import { type Address, parseRedisUrl, type RedisTarget } from './connect.ts'
import { causeOf } from './error-kinds.ts'

export type RedisConnection = Redis

/** A connection that is tried once. */
const ONCE = { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0, enableReadyCheck: false }

/**
 * Sends PING to every server of the URL; with Sentinels also to the master that they name.
 * @throws without the password, at the first server that does not answer
 */
export async function pingRedis(url: string, timeoutMs: number): Promise<void> {
  const target = parseRedisUrl(url)
  try {
    if (target.kind === 'sentinel') await pingSentinels(target, timeoutMs)
    else await Promise.all(target.hosts.map((host) => ask(host, target, timeoutMs, (redis) => redis.ping())))
  } catch (error) {
    throw new Error(causeOf(error, target.secrets))
  }
}

/**
 * Asks the server that would be written to: of a cluster its first node, with Sentinels the master that they name.
 * @throws without the password
 */
export async function askRedis<T>(url: string, timeoutMs: number, question: (redis: RedisConnection) => Promise<T>): Promise<T> {
  const target = parseRedisUrl(url)
  try {
    const address = target.kind === 'sentinel' ? await findMaster(target, timeoutMs) : target.hosts[0]!
    return await ask(address, target, timeoutMs, question)
  } catch (error) {
    throw new Error(causeOf(error, target.secrets))
  }
}

async function pingSentinels(target: RedisTarget, timeoutMs: number): Promise<void> {
  await ask(await findMaster(target, timeoutMs), target, timeoutMs, (redis) => redis.ping())
}

async function findMaster(target: RedisTarget, timeoutMs: number): Promise<Address> {
  const open = { ...target, username: undefined, password: undefined }
  const named = await Promise.all(
    target.hosts.map((host) => ask(host, open, timeoutMs, (redis) => redis.call('SENTINEL', 'get-master-addr-by-name', target.master))),
  )
  const [host, port] = (named.find(Array.isArray) ?? []) as string[]
  if (!host) throw new Error(`the Sentinels know no master ${target.master}`)
  return { host, port: Number(port) }
}

async function ask<T>(
  { host, port }: Address,
  { hasTls, username, password }: Pick<RedisTarget, 'hasTls' | 'username' | 'password'>,
  timeoutMs: number,
  question: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis({
    ...ONCE,
    host,
    port,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(hasTls ? { tls: {} } : {}),
  })
  // the error of `connect` says only that the connection is closed
  let failure: unknown = null
  redis.on('error', (error) => {
    failure ??= error
  })
  try {
    await redis.connect()
    return await question(redis)
  } catch (error) {
    throw failure ?? error
  } finally {
    redis.disconnect()
  }
}
