/** A Postgres for a row of the matrix, with a standby that follows it. */
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cluster, copyAsStandby, createCluster, query } from '../../support/postgres.ts'
import { freePort, until } from '../../support/processes.ts'
import type { Relay } from '../../support/relay.ts'
import { atEnd, type OwnProcess, spawnOwn } from './cleanup.ts'
import { startRowRelay } from './relay.ts'

export interface PostgresServer {
  port: number
  /** The gateways' database on this server. */
  url: string
  /** Runs one statement in the gateways' database. */
  sql<R extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<R[]>
  start(): Promise<void>
  /** `fast` ends connections, `immediate` is a crash with recovery at the next start. */
  stop(mode: 'fast' | 'immediate'): Promise<void>
  /** kill -9 of all its processes. */
  kill(): Promise<void>
  /** A standby becomes the primary. */
  promote(): Promise<void>
  isAlive(): boolean
  log(): string
  dataDir: string
}

export interface PostgresOptions {
  standby?: boolean
  /** Further settings, such as `max_connections=100`. */
  settings?: string[]
  /** The standby applies changes this late. */
  applyDelaySeconds?: number
  /** The data lies in a file system of this size, in MiB. Needs root. */
  diskMiB?: number
}

const DATABASE = 'portcullis'
const SETTINGS = [
  'listen_addresses=127.0.0.1',
  // the machine does not crash: what the server has written, a killed server finds again
  'fsync=off',
  'max_connections=200',
  'shared_buffers=64MB',
  'wal_level=replica',
  'wal_keep_size=256MB',
  'hot_standby=on',
  'log_checkpoints=off',
]

export interface PostgresServers {
  primary: PostgresServer
  standby: PostgresServer | null
  /** Carries the changes to the standby. A cut loses changes that the primary has committed. */
  replication: Relay | null
}

export async function startPostgresServers(options: PostgresOptions = {}): Promise<PostgresServers> {
  const { standby = false, settings = [], applyDelaySeconds = 0, diskMiB } = options
  const home = mkdtempSync(join(tmpdir(), 'portcullis-faults-pg-'))
  atEnd(() => rmSync(home, { recursive: true, force: true }))
  if (diskMiB) {
    // what is below the mount point cannot be seen: first the mount, then everything else
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskMiB}m,mode=700`, 'tmpfs', home])
    atEnd(() => execFileSync('umount', [home]))
  }
  const first = createCluster(home, 'first')
  const second = standby ? copyAsStandby(first, 'second') : null
  const primary = await createServer(first, settings)
  await primary.start()
  await query(primary.url.replace(/\w+$/, 'postgres'), `CREATE DATABASE ${DATABASE}`)
  if (!second) return { primary, standby: null, replication: null }
  const replication = await startRowRelay(primary.port)
  const source = `host=127.0.0.1 port=${replication.port} user=postgres connect_timeout=2`
  appendFileSync(
    join(second.data, 'postgresql.auto.conf'),
    `primary_conninfo = '${source}'\nrecovery_min_apply_delay = '${applyDelaySeconds}s'\n`,
  )
  const follower = await createServer(second, settings)
  await follower.start()
  await until(
    async () => (await follower.sql('SELECT 1')).length === 1,
    'the standby to have the database',
    30_000 + applyDelaySeconds * 1000,
  )
  return { primary, standby: follower, replication }
}

/** A copy of a stopped server: a backup of the time of the copy. */
export const copyData = (from: string, to: string): void => void execFileSync('cp', ['-a', from, to])

async function createServer({ bin, as, home, data: dataDir }: Cluster, settings: readonly string[]): Promise<PostgresServer> {
  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/${DATABASE}`
  const logFile = `${dataDir}.log`
  let own: OwnProcess | null = null
  const log = () => readFileSync(logFile, 'utf8')

  async function start(): Promise<void> {
    const all = [...SETTINGS, `unix_socket_directories=${home}`, ...settings]
    const server = spawnOwn(join(bin, 'postgres'), ['-D', dataDir, '-p', String(port), ...all.flatMap((s) => ['-c', s])], {
      ...as,
      cwd: home,
      logFile,
    })
    own = server
    const answers = async () => {
      if (!server.isAlive()) throw new Error(`Postgres ended:\n${log().slice(-1500)}`)
      return (await query(url.replace(/\w+$/, 'postgres'), 'SELECT 1')).length === 1
    }
    await until(answers, `Postgres on port ${port}`, 30_000)
  }
  async function stop(mode: 'fast' | 'immediate'): Promise<void> {
    await own?.stop(mode === 'fast' ? 'SIGINT' : 'SIGQUIT', 20_000)
  }
  atEnd(() => stop('immediate'))
  return {
    port,
    url,
    dataDir,
    sql: (text, values) => query(url, text, values),
    start,
    stop,
    async kill() {
      own?.killTree()
      await own?.exit
    },
    async promote() {
      await query(url, 'SELECT pg_promote(true, 30)')
    },
    isAlive: () => own?.isAlive() ?? false,
    log,
  }
}
