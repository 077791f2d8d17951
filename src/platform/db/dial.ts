/** Asks a server of Postgres what it is. */
import { lookup } from 'node:dns/promises'
import { isIP, Socket } from 'node:net'
import pg from 'pg'
import { startDeadline } from '../lib/deadline.ts'
import { sqlState } from './unavailable.ts'

export interface ServerRole {
  isStandby: boolean
  /** Grows when a standby is promoted. Null for a standby, and where Postgres does not say. */
  timeline: number | null
  /** The same for a primary and its standbys. Null where Postgres does not say. */
  systemId: string | null
}

interface Asking {
  query(text: string): Promise<{ rows: unknown[] }>
}

const ROLE = `SELECT pg_is_in_recovery() AS standby, (SELECT system_identifier::text FROM pg_control_system()) AS system,
  CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline`

/** Services that run Postgres for others may not offer the functions of its administrators: 42501 no right, 42883 unknown, 0A000 not supported. */
export const isNotOffered = (error: unknown): boolean => /^(42501|42883|0A000)$/.test(sqlState(error))

/** 55000: the server was promoted while it answered. */
const isPromoted = (error: unknown): boolean => sqlState(error) === '55000'

export async function readRole(server: Asking): Promise<ServerRole> {
  try {
    const { rows } = await server.query(ROLE)
    const { standby, system, timeline } = rows[0] as { standby: boolean; system: string; timeline: string | null }
    return { isStandby: standby, systemId: system, timeline: timeline === null ? null : Number.parseInt(timeline, 16) }
  } catch (error) {
    if (!isNotOffered(error) && !isPromoted(error)) throw error
    const { rows } = await server.query('SELECT pg_is_in_recovery() AS standby')
    return { isStandby: (rows[0] as { standby: boolean }).standby, systemId: null, timeline: null }
  }
}

/** Asks over a connection of its own. @throws when the server says nothing for `silenceMs`, or refuses the connection */
export async function dial(url: string, silenceMs: number): Promise<ServerRole> {
  const socket = new Socket()
  const client = new pg.Client({ connectionString: url, application_name: 'portcullis probe', stream: () => socket })
  client.on('error', () => {})
  let endDeadline = () => {}
  const silence = new Promise<never>((_, reject) => {
    const begin = () => {
      endDeadline()
      endDeadline = startDeadline(silenceMs, () => {
        reject(
          Object.assign(new Error(`no answer from ${client.host}:${client.port}`), {
            code: 'ETIMEDOUT',
            hostname: client.host,
            port: client.port,
          }),
        )
        socket.destroy()
      })
    }
    begin()
    for (const sign of ['lookup', 'connect', 'data']) socket.on(sign, begin)
    socket.on('close', () => endDeadline())
  })
  const asking = async () => {
    await resolveOnce(client.host)
    await client.connect()
    return readRole(client)
  }
  try {
    return await Promise.race([asking(), silence])
  } finally {
    // the deadline goes on: a server that has vanished does not close the connection
    if (socket.connecting || socket.pending) socket.destroy()
    else client.end().catch(() => undefined)
  }
}

const lookups = new Map<string, Promise<unknown>>()

/**
 * Waits until the name of the host is resolved. While the network is away a look-up takes many seconds in one of the few threads of Node, so
 * only one look-up of a name is under way.
 */
async function resolveOnce(host: string): Promise<void> {
  if (isIP(host) || host.startsWith('/')) return
  let pending = lookups.get(host)
  if (!pending) {
    pending = lookup(host).finally(() => lookups.delete(host))
    lookups.set(host, pending)
  }
  await pending
}
