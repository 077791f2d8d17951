/** Keeps a connection subscribed to a channel, whatever happens to the connection or to Redis. */
import type { Redis } from 'ioredis'
import { keepConnected } from './connect.ts'
import { BEAT_MS } from './redis-guard.ts'

export interface Subscription {
  /** The error of the last attempt; null while the channel is subscribed, and before the first attempt has ended. */
  failure(): unknown
  /** Resolves when no attempt is under way. */
  settled(): Promise<void>
  close(): void
}

export interface SubscriptionOptions {
  channel: string
  hear(message: string): void
  /** Runs on each new connection, before the channel is subscribed: afterwards Redis 5 refuses other commands. */
  prepare?(): Promise<void>
}

/**
 * @param redis a connection of its own, without `autoResubscribe`: ioredis does not catch a refused subscription. Its `socketTimeout` ends the
 * connection when PINGs have no answer
 */
export function keepSubscribed(redis: Redis, { channel, hear, prepare }: SubscriptionOptions): Subscription {
  const disconnect = keepConnected(redis)
  let isSubscribed = false
  let failure: unknown = null
  let attempt: Promise<void> = Promise.resolve()

  async function subscribe(): Promise<void> {
    try {
      await prepare?.()
      await redis.subscribe(channel)
      isSubscribed = true
      failure = null
    } catch (error) {
      failure = error
    }
  }

  redis.on('message', (_channel: string, message: string) => hear(message))
  redis.on('ready', () => {
    attempt = subscribe()
  })
  redis.on('error', (error: Error) => {
    failure = error
  })
  redis.on('close', () => {
    isSubscribed = false
    failure ??= new Error('connection closed')
  })
  const beat = setInterval(() => {
    if (redis.status !== 'ready') return
    // a refused subscription may be allowed by now
    if (isSubscribed) redis.ping().catch(() => {})
    else attempt = subscribe()
  }, BEAT_MS).unref()

  return {
    failure: () => (isSubscribed ? null : failure),
    settled: () => attempt,
    close() {
      clearInterval(beat)
      disconnect()
    },
  }
}
