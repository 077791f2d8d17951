/** Redis connections: one for limits, one that listens. Neither queues while Redis is away: a caller is told at once. */
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from './telemetry/logger.ts'

export type RedisClient = Redis | Cluster

/** Tells other gateways something that they will also find in the database. Failing is no error. */
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

/** A limit that takes longer is not waited for. */
const COMMAND_TIMEOUT_MS = 50
const CHANNEL = 'portcullis:revocations'

/** Connects in the background; a Redis that is away is no reason not to start. */
export function openRedis(url: string, logger: Logger): RedisConnections {
  const client = connect(url, { commandTimeout: COMMAND_TIMEOUT_MS })
  const subscriber = connect(url, { autoResubscribe: true })
  let up: boolean | null = null
  let isClosing = false
  const tell = (isUp: boolean, cause?: string) => {
    if (up !== isUp && !isClosing)
      logger[isUp ? 'info' : 'warn'](isUp ? {} : { reason: 'redis_away', cause }, isUp ? 'redis is here' : 'redis is away')
    up = isUp
  }
  client.on('ready', () => tell(true))
  client.on('close', () => tell(false, 'connection closed'))
  // without these handlers ioredis prints each failed attempt itself
  client.on('error', (error: Error) => tell(false, error.message))
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

/** Not `replyMapping`, which would change the types of replies. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>

function connect(url: string, more: ConnectionOptions): RedisClient {
  const options: ConnectionOptions = {
    // ioredis would keep commands until the server is back, for ever
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 1000,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1000),
    // a replica that was promoted, or a primary that was demoted: connect again
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

/** `new URL` takes one host only. */
function splitUrl(url: string) {
  const [, protocol = '', user, host = '', pathname = ''] = /^([a-z+]+):\/\/(?:([^@/]*)@)?([^/?]*)(\/[^?]*)?/.exec(url) ?? []
  const [username, password] = (user ?? '').split(':').map(decodeURIComponent)
  return { protocol, username, password, host, pathname }
}
