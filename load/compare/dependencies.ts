/** The dependencies of the subjects: an upstream, an issuer of tokens, and, if needed, Redis and Postgres. */
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { query, startPostgres } from '../../test/support/postgres.ts'
import { has, until } from '../../test/support/processes.ts'
import { startRedis } from '../../test/support/redis.ts'
import { freePorts, stop } from '../runner/processes.ts'
import { type Identity, startIdentity } from './identity.ts'

/** 60 bytes. */
export const ANSWER = '{"castle":"Bodiam 1385","items":["drawbridge","portcullis"]}'

export interface Dependencies {
  upstream: string
  /** `nginx` if it is installed, because it takes least of the CPU that it shares with the load; else `node`. */
  upstreamKind: string
  identity: Identity
  /** Started at the first call. */
  redis(): Promise<string>
  /** `Postgres`, or `embedded` when no Postgres can be started. */
  databaseKind(): Promise<string>
  /** The URL of a new database; null when no Postgres can be started. */
  database(): Promise<string | null>
  stop(): Promise<void>
}

export async function startDependencies(folder: string): Promise<Dependencies> {
  const undo: (() => unknown)[] = []
  const once = <T extends { stop(): unknown }>(start: () => Promise<T>) => {
    let started: Promise<T> | undefined
    return () => {
      started ??= start().then((dependency) => {
        undo.push(() => dependency.stop())
        return dependency
      })
      return started
    }
  }
  const redis = once(startRedis)
  const postgres = once(startPostgres)
  const identity = await once(startIdentity)()
  const upstream = await once(() => (has('nginx') ? nginxUpstream(join(folder, 'upstream')) : nodeUpstream()))()
  if (has('chrt')) await once(keepAwake)()
  let databases = 0
  return {
    upstream: upstream.url,
    upstreamKind: has('nginx') ? 'nginx' : 'node',
    identity,
    redis: async () => (await redis()).url,
    databaseKind: () =>
      postgres().then(
        () => 'Postgres',
        () => 'embedded',
      ),
    async database() {
      const server = await postgres().catch(() => null)
      if (!server) return null
      const name = `bench_${databases++}`
      await query(server.url, `CREATE DATABASE ${name}`)
      return server.url.replace(/\/postgres$/, `/${name}`)
    },
    async stop() {
      for (const step of undo.reverse()) await step()
    },
  }
}

/**
 * Keeps the other CPU awake. A process that sends to a process on a sleeping CPU pays for waking it, most of all in a virtual machine, and
 * a slow subject pays it more often. The idle scheduling class takes no CPU time from other processes.
 */
async function keepAwake() {
  const child = spawn('chrt', ['--idle', '0', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore', detached: true })
  return { stop: () => stop(child) }
}

async function nginxUpstream(folder: string) {
  const [port = 0] = await freePorts(1)
  mkdirSync(join(folder, 'logs'), { recursive: true })
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  server { listen 127.0.0.1:${port}; location / { default_type application/json; return 200 '${ANSWER}'; } }
}
`,
  )
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'ignore', detached: true })
  const url = `http://127.0.0.1:${port}`
  await until(async () => (await fetch(url)).ok, 'the upstream')
  return { url, stop: () => stop(child) }
}

async function nodeUpstream() {
  const [port = 0] = await freePorts(1)
  const server = http.createServer((_req, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': ANSWER.length }).end(ANSWER)
  })
  server.keepAliveTimeout = 3_600_000
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening))
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close().closeAllConnections() }
}
