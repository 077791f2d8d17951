/** Starts the gateway under test: its configuration and its process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts, waitUntilReady } from './processes.ts'

/** The same key for each run, so that a second run can read the first run's data in Postgres. No other database uses this key. */
const SECRET_KEY = createHash('sha256').update('the load scenarios of portcullis').digest('base64')
const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

export interface Limit {
  limit: number
  windowSeconds: number
}

export interface GatewayOptions {
  upstreamPort: number
  folder: string
  logFile: string
  /** The limit of the route `/load/limited`. */
  limit: Limit
  /** Null: any CPU. */
  cpu: number | null
  isGivenUp(): boolean
}

export interface Gateway {
  child: ChildProcess
  url: string
  adminUrl: string
}

/** @param undo called with the child as soon as it exists: the child must also be ended when it never becomes ready */
export async function startGateway(options: GatewayOptions, undo: (child: ChildProcess) => void): Promise<Gateway> {
  const [port = 0, adminPort = 0] = await freePorts(2)
  const configFile = join(options.folder, 'portcullis.yaml')
  // JSON is YAML
  writeFileSync(configFile, JSON.stringify(configuration({ ...options, port, adminPort }), null, 2))
  const child = spawnGateway(configFile, options)
  undo(child)
  const adminUrl = `http://127.0.0.1:${adminPort}`
  await waitUntilReady(child, adminUrl, options.isGivenUp)
  return { child, url: `http://127.0.0.1:${port}`, adminUrl }
}

function configuration({ port, adminPort, upstreamPort, folder, limit }: GatewayOptions & { port: number; adminPort: number }) {
  const upstream = [`http://127.0.0.1:${upstreamPort}`]
  const limits = ['perUser']
  return {
    server: { host: '127.0.0.1', port, publicUrl: `http://127.0.0.1:${port}` },
    admin: { host: '127.0.0.1', port: adminPort },
    database: { url: 'embedded', dataDir: join(folder, 'data') },
    redis: { url: 'memory' },
    // a token is valid for a run of any length
    tokens: { accessTtlSeconds: 86_400 },
    limits: {
      // all users share one address here
      exempt: ['127.0.0.1/32'],
      policies: {
        // counted as in production, and never reached
        perUser: { limit: 1_000_000_000, windowSeconds: 60, key: 'principal' },
        limited: { ...limit, key: 'principal' },
      },
    },
    routes: [
      { name: 'public', match: { path: '/load/public' }, upstream, access: 'public' },
      { name: 'orders', match: { path: '/load/orders' }, upstream, access: 'authenticated', limits },
      { name: 'limited', match: { path: '/load/limited' }, upstream, access: 'authenticated', limits: ['limited'] },
      { name: 'admin', match: { path: '/load/admin' }, upstream, access: { roles: ['admin'] }, limits },
    ],
  }
}

function spawnGateway(configFile: string, { logFile, cpu }: GatewayOptions): ChildProcess {
  const log = openSync(logFile, 'a')
  // settings of the calling shell must not influence the measurement
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PORT|PORT_FILE|PORTCULLIS_.*)$/.test(name)))
  const command = [process.execPath, CLI, 'serve', '--config', configFile]
  const [file = '', ...args] = cpu === null ? command : ['taskset', '-c', String(cpu), ...command]
  return spawn(file, args, {
    env: { ...env, NODE_ENV: 'production', PORTCULLIS_SECRET_KEY: SECRET_KEY },
    stdio: ['ignore', log, log],
    // a process group of its own: Ctrl-C reaches only this process, which stops k6 first
    detached: true,
  })
}
