/** Pools of connections to Postgres. A connection that did not answer in time is destroyed: later statements would wait behind the lost answer. */
import { Socket } from 'node:net'
import type { PostgresPool, PostgresPoolClient } from 'kysely'
import pg from 'pg'

export interface PoolSettings {
  url: string
  size: number
  /** As Postgres lists the connections. */
  name: string
  /** How long a call waits for a connection. */
  connectTimeoutMs: number
  /** How long a statement waits for its answer. Null: without limit. */
  answerTimeoutMs: number | null
  /** Session settings, by name. */
  settings: Record<string, string | number>
  /** How long an unused connection stays open. 0: until the end. */
  idleTimeoutMs: number
  onLost(error: Error): void
}

/** For Kysely. `pool` counts the connections. */
export interface ConnectionPool extends PostgresPool {
  pool: pg.Pool
}

export const openConnectionPool = (settings: PoolSettings): ConnectionPool => {
  const { url, size, name, connectTimeoutMs, answerTimeoutMs, idleTimeoutMs, onLost } = settings
  const sockets = new WeakMap<pg.ClientBase, Socket>()

  /** pg-pool calls it with `new`. The socket is our own, because pg offers no way to destroy a connection that waits for an answer. */
  function Client(options: pg.PoolConfig): pg.Client {
    const socket = new Socket()
    const client = new pg.Client({ ...options, stream: () => socket })
    sockets.set(client, socket)
    return client
  }

  const pool = new pg.Pool({
    Client: Client as unknown as new () => pg.ClientBase,
    connectionString: url,
    max: size,
    // by default pg waits without limit for a free connection and for an answer
    connectionTimeoutMillis: connectTimeoutMs,
    idleTimeoutMillis: idleTimeoutMs,
    options: Object.entries(settings.settings)
      .map(([key, value]) => `-c ${key}=${value}`)
      .join(' '),
    application_name: name,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
  })
  // an unhandled `error` event of an idle connection would end the process
  pool.on('error', onLost)
  // the pool does not listen to connections in use
  pool.on('connect', (connection) => connection.on('error', () => {}))

  function guard(client: pg.PoolClient): PostgresPoolClient {
    let isLate = false
    async function query(text: string, values: unknown[]) {
      if (answerTimeoutMs === null) return client.query(text, values)
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          isLate = true
          reject(new Error('Query read timeout'))
          sockets.get(client)!.destroy()
        }, answerTimeoutMs)
      })
      try {
        return await Promise.race([client.query(text, values), late])
      } finally {
        clearTimeout(timer)
      }
    }
    return { query: query as unknown as PostgresPoolClient['query'], release: (destroy) => client.release(destroy || isLate) }
  }

  return {
    pool,
    options: pool.options,
    connect: async () => guard(await pool.connect()),
    end: () => pool.end(),
  }
}
