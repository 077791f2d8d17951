/** Two connections to Redis: one for limits, one for subscriptions. Without Redis, commands fail at once and are not queued. */
import { type Cluster, Redis } from 'ioredis'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { connect, connectSubscriber, keepConnected, lead, parseRedisUrl, type RedisClient } from './connect.ts'
import { causeOf, kindOf } from './error-kinds.ts'
import { BEAT_MS, CALL_MS, type RedisGuard, watchRedis } from './redis-guard.ts'
import { followMaster } from './sentinels.ts'
import { keepSubscribed } from './subscription.ts'

export type { RedisClient } from './connect.ts'

/** Sends messages to other gateways. They also find the content in the database, so a lost message does no harm. */
export interface Broadcast {
  publish(message: string): Promise<void>
  subscribe(handler: (message: string) => void): Promise<void>
}

export interface RedisConnections {
  client: RedisClient
  guard: RedisGuard
  broadcast: Broadcast
  /** Redis is connected and answers. */
  isUp(): boolean
  close(): void
}

const CHANNEL = 'portcullis:revocations'
/** Only the guard writes it: does Redis take writes again? */
const PROBE_KEY = 'portcullis:probe'
const PROBE = `return redis.call('SET', KEYS[1], '1', 'PX', 1000)`
/** Redis answers for so many seconds, and the channel is not subscribed: worth a log line. */
const UNSUBSCRIBED_BEATS = 3
const UNSENT = 'a revocation was not sent to other gateways: they read it from the database within a second'

/** Connects in the background: the gateway also starts without Redis. */
export function openRedis(url: string, { logger, metrics }: { logger: Logger; metrics: Pick<Metrics, 'redisErrors'> }): RedisConnections {
  const target = parseRedisUrl(url)
  const { secrets, kind } = target
  let isClosing = false
  const answered = (error: Error) => guard.answered(error)
  const client = connect(target, answered)
  const disconnect = keepConnected(client)
  const isConnected = () => client.status === 'ready'
  const guard = watchRedis({
    logger,
    metrics,
    secrets,
    repeated: kind === 'cluster' ? ['noscript', 'moved'] : ['noscript'],
    isConnected,
    ping: () => pingAll(client, guard.mayCall()),
    write: () => client.eval(PROBE, 1, PROBE_KEY),
  })
  let hasError = false
  client.on('ready', () => {
    hasError = false
    guard.connected()
  })
  // without these handlers ioredis prints each failed attempt itself
  client.on('error', (error: Error) => {
    hasError = true
    guard.lost(error)
  })
  client.on('node error', answered)
  // a master that is lost is one that PINGs must ask, until its replica has taken its place
  client.on('-node', () => isClosing || (client as Cluster).refreshSlotsCache())
  client.on('close', () => {
    if (!hasError) guard.lost(new Error('connection closed'))
    hasError = false
  })

  const handlers: ((message: string) => void)[] = []
  const subscriber = connectSubscriber(target, client, answered)
  const subscription = keepSubscribed(subscriber, {
    channel: CHANNEL,
    hear(message) {
      for (const handle of handlers) handle(message)
    },
  })
  let hasMaster = false
  const follow =
    kind !== 'sentinel'
      ? []
      : followMaster(target, (address) => {
          hasMaster = true
          for (const redis of [client as Redis, subscriber]) lead(redis, address)
        })

  let beatsApart = 0
  let isReported = false
  const check = setInterval(() => {
    const unknown = follow.find((sentinel) => sentinel.failure())
    if (unknown && !hasMaster) guard.lost(unknown.failure())
    const failure = subscription.failure()
    beatsApart = failure !== null && guard.mayCall() ? beatsApart + 1 : 0
    if (beatsApart === UNSUBSCRIBED_BEATS && !isReported) {
      isReported = true
      const fields = { reason: 'redis_unsubscribed', kind: kindOf(failure) ?? 'reset', cause: causeOf(failure, secrets) }
      logger.warn(fields, 'redis does not send the revocations of other gateways: they come from the database, within a second')
    } else if (isReported && failure === null) {
      isReported = false
      logger.info('redis sends the revocations of other gateways again')
    }
  }, BEAT_MS).unref()

  return {
    client,
    guard,
    isUp: () => isConnected() && guard.mayCall(),
    close() {
      isClosing = true
      clearInterval(check)
      guard.stop()
      disconnect()
      for (const kept of [subscription, ...follow]) kept.close()
    },
    broadcast: {
      async publish(message) {
        // otherwise ioredis connects with defaults before the master is known
        if (!isConnected()) return
        await withDeadline(client.publish(CHANNEL, message), CALL_MS).catch((error) => guard.noticed(error, UNSENT))
      },
      async subscribe(handler) {
        handlers.push(handler)
        await subscription.settled()
      },
    },
  }
}

/** Of a cluster every master is asked, since each holds a part of the keys. */
async function pingAll(client: RedisClient, isAvailable: boolean): Promise<void> {
  if (client instanceof Redis) return void (await client.ping())
  // not awaited: the next PING finds the masters that a failover has made
  if (!isAvailable) client.refreshSlotsCache()
  const masters = client.nodes('master')
  if (masters.length === 0) throw new Error('no master is known: connection closed')
  await Promise.all(masters.map((master) => master.ping()))
}
