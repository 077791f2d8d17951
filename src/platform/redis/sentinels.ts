/**
 * Asks Sentinels for the master, and follows a failover as soon as the first Sentinel announces it. The connector of ioredis asks one Sentinel
 * at a time, and gets the old master from a Sentinel that has not heard of the failover.
 */
import { Redis } from 'ioredis'
import { type Address, baseOptions, type RedisTarget } from './connect.ts'
import { keepSubscribed, type Subscription } from './subscription.ts'

const FAILOVER_CHANNEL = '+switch-master'

/** @param onMaster is called with each new master */
export function followMaster({ hosts, master, hasTls }: RedisTarget, onMaster: (address: Address) => void): Subscription[] {
  let current: Address | null = null
  let currentEpoch = -1

  function adopt(host: string | undefined, port: string | undefined): void {
    if (!host || !Number(port)) return
    if (current?.host === host && current.port === Number(port)) return
    current = { host, port: Number(port) }
    onMaster(current)
  }

  return hosts.map((address) => {
    const sentinel = new Redis({ ...baseOptions, ...address, ...(hasTls ? { tls: {} } : {}) })
    return keepSubscribed(sentinel, {
      channel: FAILOVER_CHANNEL,
      async prepare() {
        const fields = fieldsOf(await sentinel.call('SENTINEL', 'MASTER', master))
        const epoch = Number(fields['config-epoch'])
        // a Sentinel that was cut off may know only an older master
        if (epoch < currentEpoch || (epoch === currentEpoch && current)) return
        currentEpoch = epoch
        adopt(fields.ip, fields.port)
      },
      hear(message) {
        const [name, , , host, port] = message.split(' ')
        if (name === master) adopt(host, port)
      },
    })
  })
}

/** Redis answers with names and values in turn. */
function fieldsOf(answer: unknown): Record<string, string> {
  const parts = (answer as unknown[]).map(String)
  return Object.fromEntries(parts.flatMap((name, i) => (i % 2 === 0 ? [[name, parts[i + 1] ?? '']] : [])))
}
