/** Two Redis connections: one for limits, one for subscriptions. Without Redis, commands fail at once and are not queued. */
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from './telemetry/logger.ts'

export type RedisClient = Redis | Cluster

/** Sends messages to other gateways. They also find the content in the database, so a lost message does no harm. */
export interface Broadcast {
  publish(message: string): Promise<void>
  subscribe(handler: (message: string) => void): Promise<void>
}

export interface RedisConnections {
  client: RedisClient
  broadcast: Broadcast
  isUp(): boolean
  close(): void
}

/** The longest wait for an answer about a limit. */
const COMMAND_TIMEOUT_MS = 50
const AWAY = 'redis is not available: limits are counted by each worker until it is back, unless onRedisDown of a route says otherwise'
const CHANNEL = 'portcullis:revocations'

/** Connects in the background: the gateway also starts without Redis. */
export function openRedis(url: string, logger: Logger): RedisConnections {
  const client = connect(url, { commandTimeout: COMMAND_TIMEOUT_MS })
  const subscriber = connect(url, { autoResubscribe: true })
  let up: boolean | null = null
  let isClosing = false
  const report = (isUp: boolean, cause?: string) => {
    if (up !== isUp && !isClosing)
      logger[isUp ? 'info' : 'warn'](isUp ? {} : { reason: 'redis_away', cause }, isUp ? 'redis is available' : AWAY)
    up = isUp
  }
  client.on('ready', () => report(true))
  client.on('close', () => report(false, 'connection closed'))
  // without these handlers ioredis prints each failed attempt itself
  client.on('error', (error: Error) => report(false, error.message))
  subscriber.on('error', () => {})

  return {
    client,
    isUp: () => client.status === 'ready',
    close() {
      isClosing = true
      client.disconnect()
      subscriber.disconnect()
    },
    broadcast: {
      publish: async (message) => {
        await client.publish(CHANNEL, message).catch(() => undefined)
      },
      async subscribe(handler) {
        subscriber.on('message', (_channel: string, message: string) => handler(message))
        const listen = () => subscriber.subscribe(CHANNEL).catch(() => undefined)
        subscriber.on('ready', listen)
        if (subscriber.status === 'ready') await listen()
      },
    },
  }
}

/** Without `replyMapping`, which would change the types of replies. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>

function connect(url: string, more: ConnectionOptions): RedisClient {
  const options: ConnectionOptions = {
    // by default ioredis queues commands without limit until the server is back
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 1000,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1000),
    // the connection leads to a replica, for example after a failover: connect again
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...more,
  }
  const { protocol, username, password, host, pathname } = splitUrl(url)
  const tls = protocol.startsWith('rediss') ? { tls: {} } : {}
  const credentials = { ...(username ? { username } : {}), ...(password ? { password } : {}) }
  const nodes = host.split(',').map((h) => {
    const [name = 'localhost', port] = h.split(':')
    return { host: name, port: Number(port ?? (protocol.endsWith('sentinel') ? 26379 : 6379)) }
  })
  if (protocol.endsWith('+sentinel'))
    return new Redis({ ...options, ...tls, ...credentials, sentinels: nodes, name: pathname.slice(1) || 'mymaster' })
  if (protocol.endsWith('+cluster')) {
    return new Cluster(nodes, {
      enableOfflineQueue: false,
      clusterRetryStrategy: (attempt) => Math.min(attempt * 50, 1000),
      redisOptions: { ...options, ...tls, ...credentials },
    })
  }
  return new Redis(url, options)
}

/** For several hosts, which `new URL` does not accept. */
function splitUrl(url: string) {
  const [, protocol = '', user, host = '', pathname = ''] = /^([a-z+]+):\/\/(?:([^@/]*)@)?([^/?]*)(\/[^?]*)?/.exec(url) ?? []
  const [username, password] = (user ?? '').split(':').map(decodeURIComponent)
  return { protocol, username, password, host, pathname }
}
