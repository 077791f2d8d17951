/** Counts the calls to Redis while keys are hot and below their limits. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { Pool } from 'undici'
import type { Dependencies } from './dependencies.ts'
import { interrupted } from './interrupt.ts'
import type { RedisCalls } from './report.ts'
import { start } from './running.ts'
import { gatewayVariant, registerUser, shareWithoutRedis } from './subjects/gateway.ts'

const SECONDS = 12
/** Before counting begins: time for connections and for the first verification of each token. */
const WARM_UP_SECONDS = 2
const TICK_MS = 10

interface Rate {
  /** Per minute, for the policy by address and for the policy by user. */
  limit: number
  users: number
  /** Of each user, a tenth below the limit. */
  perSecond: number
}
const RATES: Rate[] = [
  { limit: 6000, users: 10, perSecond: 90 },
  { limit: 60_000, users: 3, perSecond: 900 },
]

export async function countRedisCalls(folder: string, dependencies: Dependencies): Promise<RedisCalls[]> {
  const counted: RedisCalls[] = []
  for (const rate of RATES) counted.push(await count(rate, folder, dependencies))
  return counted
}

async function count({ limit, users, perSecond }: Rate, folder: string, dependencies: Dependencies): Promise<RedisCalls> {
  const limited = gatewayVariant({
    name: 'redis-calls',
    does: '',
    change: ({ limits: { policies } }) => {
      policies.perAddress.limit = limit
      policies.perUser.limit = limit
    },
  })
  const redis = new Redis(await dependencies.redis())
  // removes counts of other subjects for this address
  await redis.flushall()
  const gateway = await start(limited, folder, dependencies)
  const monitor = await redis.monitor()
  let sent = 0
  monitor.on('monitor', (_time: string, [command]: [string], source: string) => {
    // calls inside scripts do not count; INFO comes from this program
    if (source !== 'lua' && command.toLowerCase() !== 'info') sent++
  })
  const { origin, pathname } = new URL(gateway.url)
  const clients: Client[] = []
  try {
    // each user has an address of its own
    for (let i = 0; i < users; i++) {
      const pool = new Pool(origin, { connections: 8, localAddress: `127.0.0.${10 + i}` })
      clients.push({ pool, path: pathname, authorization: `Bearer ${await registerUser(origin, `user-${i}`)}` })
    }
    await drive(clients, perSecond, WARM_UP_SECONDS)
    const during = async (work: () => Promise<unknown>) => {
      const [executedBefore, sentBefore] = [await commandsExecuted(redis), sent]
      await work()
      return { executed: (await commandsExecuted(redis)) - executedBefore, sent: sent - sentBefore }
    }
    // calls that happen without requests are subtracted
    const idle = await during(() => sleep(3000, undefined, { signal: interrupted }))
    let requests = 0
    const busy = await during(async () => {
      requests = await drive(clients, perSecond, SECONDS)
    })
    const per1000 = (kind: 'sent' | 'executed') => ((busy[kind] - (idle[kind] * SECONDS) / 3) / requests) * 1000
    return {
      limit,
      requests,
      callsPer1000: per1000('sent'),
      commandsPer1000: per1000('executed'),
      shareWithoutRedis: await shareWithoutRedis(gateway.adminPort),
    }
  } finally {
    monitor.disconnect()
    redis.disconnect()
    await Promise.all(clients.map(({ pool }) => pool.destroy()))
    await gateway.stop()
  }
}

interface Client {
  pool: Pool
  path: string
  authorization: string
}

/** Requests begin when they are due, whatever the responses. @returns how many; @throws unless all were admitted */
async function drive(clients: Client[], perSecond: number, seconds: number): Promise<number> {
  const answers: Promise<number>[] = []
  const ask = async ({ pool, path, authorization }: Client) => {
    const { statusCode, body } = await pool.request({ path, method: 'GET', headers: { authorization } })
    await body.dump()
    return statusCode
  }
  const begin = performance.now()
  for (let due = 0; due < perSecond * seconds; await sleep(TICK_MS, undefined, { signal: interrupted })) {
    const until = Math.min(perSecond * seconds, ((performance.now() - begin) / 1000) * perSecond)
    for (; due < until; due++) answers.push(...clients.map(ask))
  }
  const refused = (await Promise.all(answers)).filter((status) => status !== 200).length
  if (refused) throw new Error(`${refused} of ${answers.length} requests were not admitted`)
  return answers.length
}

async function commandsExecuted(redis: Redis): Promise<number> {
  const lines = (await redis.info('commandstats')).matchAll(/^cmdstat_([\w|]+):calls=(\d+)/gm)
  return [...lines].filter(([, name]) => name !== 'info').reduce((sum, [, , calls]) => sum + Number(calls), 0)
}
