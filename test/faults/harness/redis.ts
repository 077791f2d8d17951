/** Redis for a row of the matrix: a single server, three masters with a replica each, or a master watched by Sentinels. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort, until } from '../../support/processes.ts'
import { answerToPing, findServer } from '../../support/redis.ts'
import { atEnd, type OwnProcess, spawnOwn } from './cleanup.ts'

export interface RedisServer {
  port: number
  url: string
  /** One command, on a connection of its own. */
  command(name: string, ...args: (string | number)[]): Promise<unknown>
  /** One command of a client with a password. */
  as(password: string, name: string, ...args: (string | number)[]): Promise<unknown>
  /** @param more arguments of this start only */
  start(more?: string[]): Promise<void>
  kill(): Promise<void>
  /** SIGSTOP: it accepts connections and never answers. */
  freeze(): void
  resume(): void
}

export type RedisForm = 'single' | 'cluster' | 'sentinel'

export interface RedisStore {
  /** For `redis.url`. */
  url: string
  /** single: the server. cluster: three masters, then their replicas. sentinel: the master, then two replicas. */
  servers: RedisServer[]
  sentinels: RedisServer[]
  /** The port of the master that the Sentinels name. */
  masterPort(): Promise<number>
}

export interface RedisOptions {
  /** Further arguments of redis-server. */
  args?: string[]
}

export async function startRedisStore(form: RedisForm, { args = [] }: RedisOptions = {}): Promise<RedisStore> {
  const home = mkdtempSync(join(tmpdir(), 'portcullis-faults-redis-'))
  chmodSync(home, 0o755)
  atEnd(() => rmSync(home, { recursive: true, force: true }))
  const launch = async (more: string[] = []) => {
    const server = await createRedisServer(home, [...args, ...more])
    await server.start()
    return server
  }
  if (form === 'single') {
    const server = await launch()
    return { url: server.url, servers: [server], sentinels: [], masterPort: async () => server.port }
  }
  if (form === 'cluster') return startCluster(launch)
  return startSentinels(home, launch)
}

type Launch = (more?: string[]) => Promise<RedisServer>

async function startCluster(launch: Launch): Promise<RedisStore> {
  const servers: RedisServer[] = []
  for (let i = 0; i < 6; i++)
    servers.push(await launch(['--cluster-enabled', 'yes', '--cluster-node-timeout', '1500', '--cluster-config-file', `nodes-${i}.conf`]))
  const SLOTS = 16_384
  for (const [i, server] of servers.entries()) {
    await server.command('CLUSTER', 'MEET', '127.0.0.1', servers[0]!.port)
    if (i > 2) continue
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => Math.floor((slot * 3) / SLOTS) === i)
    await server.command('CLUSTER', 'ADDSLOTS', ...slots)
  }
  const knowsAll = async (server: RedisServer) => String(await server.command('CLUSTER', 'INFO')).includes('cluster_known_nodes:6')
  for (const server of servers) await until(() => knowsAll(server), 'the cluster to know its nodes', 30_000)
  for (const [i, server] of servers.slice(3).entries()) {
    const master = String(await servers[i]!.command('CLUSTER', 'MYID'))
    await until(async () => (await server.command('CLUSTER', 'REPLICATE', master)) === 'OK', 'a replica to follow', 30_000)
  }
  const isOk = async (server: RedisServer) => String(await server.command('CLUSTER', 'INFO')).includes('cluster_state:ok')
  for (const server of servers) await until(() => isOk(server), 'the cluster to be ok', 30_000)
  for (const server of servers.slice(3))
    await until(
      async () => String(await server.command('INFO', 'replication')).includes('master_link_status:up'),
      'a replica in step',
      30_000,
    )
  const url = `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`
  return { url, servers, sentinels: [], masterPort: async () => servers[0]!.port }
}

const MASTER = 'mymaster'

async function startSentinels(home: string, launch: Launch): Promise<RedisStore> {
  const master = await launch()
  const replicas = [await launch(['--replicaof', `127.0.0.1 ${master.port}`]), await launch(['--replicaof', `127.0.0.1 ${master.port}`])]
  for (const replica of replicas)
    await until(async () => String(await replica.command('INFO', 'replication')).includes('master_link_status:up'), 'a replica', 30_000)
  const sentinels: RedisServer[] = []
  for (let i = 0; i < 3; i++) {
    const port = await freePort()
    const file = join(home, `sentinel-${port}.conf`)
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${home}`,
      `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2`,
      `sentinel down-after-milliseconds ${MASTER} 1000`,
      `sentinel failover-timeout ${MASTER} 5000`,
    ]
    writeFileSync(file, `${lines.join('\n')}\n`)
    const sentinel = await createRedisServer(home, [], { port, file })
    await sentinel.start()
    sentinels.push(sentinel)
  }
  const masterPort = async () => {
    for (const sentinel of sentinels) {
      const answer = await sentinel.command('SENTINEL', 'get-master-addr-by-name', MASTER).catch(() => null)
      if (Array.isArray(answer)) return Number(answer[1])
    }
    throw new Error('no Sentinel answers')
  }
  const seesAll = async (sentinel: RedisServer) => {
    const text = String(await sentinel.command('INFO', 'sentinel'))
    return text.includes('slaves=2') && text.includes('sentinels=3')
  }
  for (const sentinel of sentinels) await until(() => seesAll(sentinel), 'a Sentinel that sees all', 30_000)
  const url = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${MASTER}`
  return { url, servers: [master, ...replicas], sentinels, masterPort }
}

async function createRedisServer(home: string, args: string[], sentinel?: { port: number; file: string }): Promise<RedisServer> {
  const command = findServer()
  if (!command) throw new Error('the fault rows need redis-server or valkey-server on PATH')
  const port = sentinel?.port ?? (await freePort())
  const logFile = join(home, `${port}.log`)
  let own: OwnProcess | null = null
  const runAs = async (password: string | null, name: string, ...parts: (string | number)[]) => {
    const credentials = password ? { password } : {}
    const client = new Redis({
      port,
      host: '127.0.0.1',
      lazyConnect: true,
      ...credentials,
      // it would wait for the end of LOADING
      enableReadyCheck: false,
      retryStrategy: () => null,
      connectTimeout: 2000,
      commandTimeout: 10_000,
    })
    client.on('error', () => {})
    try {
      await client.connect()
      return await client.call(name, ...parts)
    } finally {
      client.disconnect()
    }
  }
  const run = (name: string, ...parts: (string | number)[]) => runAs(null, name, ...parts)
  const start = async (more: string[] = []) => {
    const usual = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    const all = sentinel ? [sentinel.file, '--sentinel'] : [...usual, '--dir', home, '--repl-diskless-sync-delay', '0', ...args, ...more]
    own = spawnOwn(command, all, { logFile, cwd: home })
    // LOADING and NOAUTH are answers, too
    await until(() => answerToPing(port), `Redis on port ${port}`, 60_000)
  }
  const kill = async () => void (await own?.stop('SIGKILL'))
  atEnd(kill)
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    command: run,
    as: runAs,
    start,
    kill,
    freeze: () => own?.signal('SIGSTOP'),
    resume: () => own?.signal('SIGCONT'),
  }
}
