/**
 * Pools of connections to Postgres. A connection that did not answer in time is destroyed: later statements would wait behind the lost answer.
 * A connection whose server stops, or accepts no writes any more, is destroyed, too.
 */
import { Socket } from 'node:net'
import type { PostgresPool, PostgresPoolClient } from 'kysely'
import pg from 'pg'
import type { Breaker } from './breaker.ts'
import { readRole, type ServerRole } from './dial.ts'
import { isConnectionLost } from './unavailable.ts'

export interface PoolSettings {
  size: number
  /** As Postgres lists the connections. */
  name: string
  /** How long a call waits for a connection. */
  connectTimeoutMs: number
  /** How long a statement waits for its answer. Null: without limit, also while the database seems to be away. */
  answerTimeoutMs: number | null
  /** Session settings, by name. */
  settings: Record<string, string | number>
  /** How long an unused connection stays open. 0: until the end. */
  idleTimeoutMs: number
}

export interface PoolDeps {
  /** The server, for new connections. */
  server: {
    /** @returns a URL with one host */
    url(): Promise<string> | string
    /** Judges the server of a new connection. @throws when it must not be used */
    admit(url: string, role: ServerRole): void
  }
  breaker: Breaker
  onLost(error: Error): void
}

/** For Kysely. `pool` counts the connections. */
export interface ConnectionPool extends PostgresPool {
  pool: pg.Pool
  /** Destroys every connection; with a URL, every connection but those that are being opened to this server. */
  drop(exceptNewTo?: string): void
}

interface Opened {
  socket: Socket
  url: string
  /** Its server has been judged. */
  isAdmitted: boolean
}

/** After `end`, a server that has vanished does not close its connections. */
const END_MS = 1000

export function openConnectionPool(options: PoolSettings, { server, breaker, onLost }: PoolDeps): ConnectionPool {
  const { size, name, connectTimeoutMs, answerTimeoutMs, idleTimeoutMs, settings } = options
  const opened = new Map<pg.ClientBase, Opened>()
  /** Destroyed here: their end is no news. */
  const dropped = new WeakSet<pg.ClientBase>()
  /** For the connections that pg-pool opens next: it asks for no promise. */
  let url = ''

  /** pg-pool calls it with `new`. The socket is our own, because pg cannot destroy a connection that waits for an answer. */
  function Client(config: pg.PoolConfig): pg.Client {
    const socket = new Socket()
    const client = new pg.Client({ ...config, connectionString: url, stream: () => socket })
    opened.set(client, { socket, url, isAdmitted: false })
    socket.once('close', () => opened.delete(client))
    return client
  }

  const pool = new pg.Pool({
    Client: Client as unknown as new () => pg.ClientBase,
    max: size,
    // by default pg waits without limit for a free connection and for an answer
    connectionTimeoutMillis: connectTimeoutMs,
    idleTimeoutMillis: idleTimeoutMs,
    options: Object.entries(settings)
      .map(([key, value]) => `-c ${key}=${value}`)
      .join(' '),
    application_name: name,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
  })
  // an unhandled `error` event of an idle connection would end the process
  pool.on('error', (error, client) => {
    if (!dropped.has(client)) onLost(error)
  })
  // the pool does not listen to connections in use
  pool.on('connect', (client) => client.on('error', () => {}))

  function acquire(): Promise<pg.PoolClient> {
    const connecting = pool.connect()
    return breaker.wait(connecting, null).catch((error) => {
      connecting.then(
        (client) => client.release(),
        () => {},
      )
      throw error
    })
  }

  async function connect(): Promise<PostgresPoolClient> {
    breaker.assertClosed()
    url = await server.url()
    const client = await acquire().catch((error) => {
      if (isConnectionLost(error)) breaker.suspect()
      throw error
    })
    let isLost = false
    async function ask<T>(work: Promise<T>, limitMs: number | null): Promise<T> {
      try {
        return await (limitMs === null ? work : breaker.wait(work, limitMs))
      } catch (error) {
        if (isConnectionLost(error)) {
          isLost = true
          destroy(client)
          breaker.suspect()
        }
        throw error
      }
    }
    const release = (destroy?: boolean) => client.release(destroy || isLost)
    const state = opened.get(client)
    if (state && !state.isAdmitted) {
      try {
        const role = await readRole({ query: (text) => ask(client.query(text), connectTimeoutMs) })
        server.admit(state.url, role)
        state.isAdmitted = true
      } catch (error) {
        if (isConnectionLost(error)) breaker.suspect()
        release(true)
        throw error
      }
    }
    const query = (text: string, values: unknown[]) => ask(client.query(text, values), answerTimeoutMs)
    return { query: query as unknown as PostgresPoolClient['query'], release }
  }

  function drop(exceptNewTo?: string): void {
    for (const [client, { isAdmitted, url }] of opened) if (isAdmitted || url !== exceptNewTo) destroy(client)
  }

  function destroy(client: pg.ClientBase): void {
    dropped.add(client)
    opened.get(client)?.socket.destroy()
  }

  return {
    pool,
    options: pool.options,
    connect,
    drop,
    async end() {
      const timer = setTimeout(() => drop(), END_MS)
      await pool.end().finally(() => clearTimeout(timer))
    },
  }
}
