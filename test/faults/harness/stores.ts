/** The stores of a row: Postgres with or without a standby, and Redis in one of its forms. */
import type { Relay } from '../../support/relay.ts'
import { type PostgresOptions, type PostgresServer, startPostgresServers } from './postgres.ts'
import { type RedisForm, type RedisOptions, type RedisStore, startRedisStore } from './redis.ts'

export interface StoreOptions extends PostgresOptions {
  /** Default: a single server. `none`: limits are counted in memory, where only one worker is allowed. */
  redis?: RedisForm | 'none'
  redisArgs?: string[]
}

export interface Stores {
  databaseUrl: string
  redisUrl: string
  postgres: PostgresServer
  standby: PostgresServer | null
  replication: Relay | null
  redis: RedisStore | null
}

export async function startStores({ redis = 'single', redisArgs, ...options }: StoreOptions = {}): Promise<Stores> {
  const redisOptions: RedisOptions = redisArgs ? { args: redisArgs } : {}
  const [{ primary, standby, replication }, store] = await Promise.all([
    startPostgresServers(options),
    redis === 'none' ? null : startRedisStore(redis, redisOptions),
  ])
  return { databaseUrl: primary.url, redisUrl: store?.url ?? 'memory', postgres: primary, standby, replication, redis: store }
}
