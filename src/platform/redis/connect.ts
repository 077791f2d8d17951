/** Opens connections to one Redis, to the master that Sentinels name, or to a cluster. */
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { systemClock } from '../lib/clock.ts'

export type RedisClient = Redis | Cluster

export interface Address {
  host: string
  port: number
}

export interface RedisTarget {
  kind: 'single' | 'sentinel' | 'cluster'
  url: string
  hosts: Address[]
  hasTls: boolean
  username: string | undefined
  password: string | undefined
  /** The name of the master that Sentinels know. */
  master: string
  /** What no log may show: the password, also as it is written in the URL. */
  secrets: string[]
}

/** Without `replyMapping`, which would change the types of replies. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>

const LONGEST_WAIT_MS = 500
const retryStrategy = (attempt: number): number => Math.min(attempt * 50, LONGEST_WAIT_MS)

export const baseOptions = {
  // by default ioredis queues commands without limit until the server is back, and sends them again on the next connection
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1000,
  // a connection that has sent something and hears nothing for so long is closed: two PINGs without an answer
  socketTimeout: 2000,
  // by default a connection to a peer that has vanished is kept for 2 seconds
  disconnectTimeout: 100,
  // by default ioredis subscribes again itself, and does not catch a refusal: it would end the process
  autoResubscribe: false,
  // LOADING is an answer like others: the guard sees it
  enableReadyCheck: false,
  retryStrategy,
} satisfies ConnectionOptions

const RECONNECT_EVERY_MS = 1000

function optionsOf({ hasTls, username, password }: RedisTarget, answered: (error: Error) => void): ConnectionOptions {
  let reconnectedAt = Number.NEGATIVE_INFINITY
  return {
    ...baseOptions,
    reconnectOnError(error) {
      answered(error)
      // the connection leads to a replica, for example after a failover: the same address may lead to the master now
      const now = systemClock.steady()
      if (!/(^|-)READONLY /.test(error.message) || now - reconnectedAt < RECONNECT_EVERY_MS) return false
      reconnectedAt = now
      return true
    },
    ...(username ? { username } : {}),
    ...(password ? { password } : {}),
    ...(hasTls ? { tls: {} } : {}),
  }
}

/** With Sentinels the connection waits for `lead`. @param answered is called with each error that Redis answers */
export function connect(target: RedisTarget, answered: (error: Error) => void): RedisClient {
  const options = optionsOf(target, answered)
  switch (target.kind) {
    case 'single':
      return new Redis(target.url, options)
    case 'sentinel':
      return new Redis({ ...options, lazyConnect: true })
    case 'cluster':
      return new Cluster(target.hosts, { enableOfflineQueue: false, clusterRetryStrategy: retryStrategy, redisOptions: options })
  }
}

/** Of a cluster any node will do, since each sends every message on. Each attempt takes the next node. */
export function connectSubscriber(target: RedisTarget, client: RedisClient, answered: (error: Error) => void): Redis {
  if (target.kind !== 'cluster') return connect(target, answered) as Redis
  let turn = Math.floor(Math.random() * target.hosts.length)
  const next = (): Address => {
    const known = (client as Cluster).nodes('all').map(({ options: { host, port } }) => ({ host: host!, port: port! }))
    const nodes = [...target.hosts, ...known]
    return nodes[turn++ % nodes.length]!
  }
  const subscriber = new Redis({ ...optionsOf(target, answered), ...next() })
  subscriber.on('reconnecting', () => void Object.assign(subscriber.options, next()))
  return subscriber
}

const AGAIN_MS = 500

/** ioredis gives up after errors that it does not expect: the connection is then opened again. @returns ends the connection for good */
export function keepConnected(redis: RedisClient): () => void {
  let isClosing = false
  redis.on('end', () => {
    if (!isClosing) setTimeout(() => void (isClosing || redis.connect().catch(() => {})), AGAIN_MS).unref()
  })
  return () => {
    isClosing = true
    redis.disconnect()
  }
}

/** Leads a connection to another server. */
export function lead(redis: Redis, address: Address): void {
  Object.assign(redis.options, address)
  if (redis.status === 'wait') redis.connect().catch(() => {})
  // not `disconnect`: in some states ioredis takes that for the end
  else redis.stream?.destroy()
}

/** `new URL` does not accept several hosts. */
export function parseRedisUrl(url: string): RedisTarget {
  const [, protocol = '', user = '', host = '', pathname = ''] = /^([a-z+]+):\/\/(?:([^/?]*)@)?([^/?]*)(\/[^?]*)?/.exec(url) ?? []
  const kind = protocol.endsWith('+sentinel') ? 'sentinel' : protocol.endsWith('+cluster') ? 'cluster' : 'single'
  const colon = user.indexOf(':')
  const [name, word] = colon < 0 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)]
  const password = decoded(word)
  return {
    kind,
    url,
    hosts: host.split(',').map((text) => {
      const [name = 'localhost', port] = text.split(':')
      return { host: name, port: Number(port ?? (kind === 'sentinel' ? 26379 : 6379)) }
    }),
    hasTls: protocol.startsWith('rediss'),
    username: decoded(name) || undefined,
    password: password || undefined,
    master: pathname.slice(1) || 'mymaster',
    secrets: [...new Set([password, word])].filter(Boolean),
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
