/** Random faults, one after the other, for rows that run for long beside traffic. */
import type { Relay } from '../../support/relay.ts'
import type { BlindTime } from '../history/history.ts'
import type { Random } from '../storms/random.ts'
import { pause } from './fault-row.ts'
import type { FaultGateway } from './gateways.ts'
import { startRowRelay } from './relay.ts'
import { type Setting, type SettingOptions, startSetting } from './setting.ts'

export interface Relayed {
  setting: Setting
  /** Between each gateway and Postgres, by the number of the gateway. */
  databaseRelays: Relay[]
  redisRelays: Relay[]
}

/** A setting whose gateways reach Postgres and Redis through relays of their own. */
export async function startRelayed(options: SettingOptions & { gateways: number }): Promise<Relayed> {
  const databaseRelays = await Promise.all(Array.from({ length: options.gateways }, () => startRowRelay()))
  const redisRelays = await Promise.all(Array.from({ length: options.gateways }, () => startRowRelay()))
  const urls = { database: '', redis: '' }
  const setting = await startSetting({
    ...options,
    reach: ({ postgres, databaseUrl, redisUrl }) => {
      for (const relay of databaseRelays) relay.target(postgres.port)
      for (const relay of redisRelays) relay.target(Number(new URL(redisUrl).port))
      Object.assign(urls, { database: databaseUrl, redis: redisUrl })
      return {}
    },
    each: (i) => ({ databaseUrl: databaseRelays[i]!.through(urls.database), redisUrl: redisRelays[i]!.through(urls.redis) }),
  })
  return { setting, databaseRelays, redisRelays }
}

interface Injected {
  name: string
  /** The gateways that could not read Postgres meanwhile. */
  blind?: { gateway?: FaultGateway }
  run(): Promise<void>
}

export interface FaultInjector {
  /** Injects one random fault, and waits until it is mended. @returns its name */
  next(): Promise<string>
  blindTimes: BlindTime[]
  counts: Map<string, number>
}

/**
 * Faults last for one to four seconds. No kind comes again before each of them has come.
 * @param without names of faults that are left out
 */
export function createInjector(
  { setting, databaseRelays, redisRelays }: Relayed,
  random: Random,
  without: readonly string[] = [],
): FaultInjector {
  const { gateways, stores } = setting
  const blindTimes: BlindTime[] = []
  const counts = new Map<string, number>()
  const countOf = ({ name }: Injected) => counts.get(name) ?? 0
  const aWhile = () => pause(1000 + random.below(3000))
  const redis = stores.redis?.servers[0]

  function draw(): Injected {
    const i = random.below(gateways.length)
    const gateway = gateways[i]!
    const relayed = (name: string, relay: Relay, how: (relay: Relay) => void, isDatabase: boolean): Injected => ({
      name,
      ...(isDatabase && { blind: { gateway } }),
      async run() {
        how(relay)
        await aWhile()
        relay.mend()
      },
    })
    const kinds: Injected[] = [
      {
        name: 'kill -9 of a gateway',
        // a gateway that has just started has read everything; its balancer needs a moment
        async run() {
          await gateway.kill()
          await aWhile()
          await gateway.start()
        },
      },
      {
        name: 'kill -9 of a worker',
        async run() {
          const children = gateway.children()
          if (children.length > 0) process.kill(random.pick(children), 'SIGKILL')
          await aWhile()
        },
      },
      {
        name: 'restart of Postgres',
        blind: {},
        async run() {
          await stores.postgres.stop(random.pick(['fast', 'immediate']))
          await aWhile()
          await stores.postgres.start()
        },
      },
      {
        name: 'kill -9 of Redis',
        async run() {
          await redis?.kill()
          await aWhile()
          await redis?.start()
        },
      },
      relayed('Postgres cut off', databaseRelays[i]!, (relay) => relay.cut(), true),
      relayed('Postgres vanishes', databaseRelays[i]!, (relay) => relay.vanish(), true),
      relayed('Redis cut off', redisRelays[i]!, (relay) => relay.cut(), false),
      relayed('Redis vanishes', redisRelays[i]!, (relay) => relay.vanish(), false),
      {
        name: 'lost COMMIT',
        async run() {
          const outcome = random.pick(['arrives', 'delayed'] as const)
          const lost = databaseRelays[i]!.loseCommit(/insert into "refresh_tokens"/, outcome)
          const { deliver } = await Promise.race([lost, pause(5000).then(() => ({ deliver() {} }))])
          await pause(random.below(300))
          deliver()
        },
      },
    ]
    const possible = kinds.filter(({ name }) => !without.includes(name))
    const fewest = Math.min(...possible.map(countOf))
    return random.pick(possible.filter((kind) => countOf(kind) === fewest))
  }

  return {
    blindTimes,
    counts,
    async next() {
      const { name, blind, run } = draw()
      const from = performance.now()
      await run()
      if (blind) blindTimes.push({ from, to: performance.now(), ...(blind.gateway && { gateway: blind.gateway.name }) })
      counts.set(name, (counts.get(name) ?? 0) + 1)
      return name
    },
  }
}
