/** A gateway in this process, with real stores and listeners on free ports. Its log is kept, and its clock can be moved. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import { type App, buildApp } from '../../src/app/app.ts'
import { loadConfig } from '../../src/app/load-config.ts'
import type { ReloadResult } from '../../src/app/reload.ts'
import type { Clock } from '../../src/platform/lib/clock.ts'
import type { Message, Transport } from '../../src/platform/mail/message.ts'
import { createLogger } from '../../src/platform/telemetry/logger.ts'
import type { Resolve } from '../../src/proxy/upstream/dns.ts'
import { createDataDir } from './embedded.ts'
import { createRecorder } from './mails.ts'
import { createDatabase } from './postgres.ts'
import { CHEAP, compilers, hasherFor } from './shared.ts'

export interface TestClock extends Clock {
  advance(ms: number): void
}

/** Real time plus an offset. Keep the offset small: the database has its own clock. */
function movableClock(): TestClock {
  let offset = 0
  return {
    now: () => Date.now() + offset,
    steady: () => performance.now() + offset,
    advance: (ms) => {
      offset += ms
    },
  }
}

/** Real time, but `steady` stands still until it is moved: nothing is paced by how fast the machine is. */
export function stillClock(): TestClock {
  const moving = movableClock()
  let steady = performance.now()
  return {
    now: moving.now,
    steady: () => steady,
    advance: (ms) => {
      moving.advance(ms)
      steady += ms
    },
  }
}

type Json = { [key: string]: unknown }

export interface GatewayOptions {
  /** Overrides the test defaults, section by section. */
  config?: Json
  routes?: Json[]
  /** Default: postgres with limits in memory. */
  stores?: 'embedded' | 'postgres' | 'postgres+redis'
  databaseUrl?: string
  redisUrl?: string
  dataDir?: string
  env?: NodeJS.ProcessEnv
  /** Default: a free port. Needed where `server.publicUrl` must hold it. */
  port?: number
  secretKey?: string
  clock?: TestClock
  resolve?: Resolve
  /** Default: mails are kept, see mails.ts. `configured`: sent as `mail` of the configuration says. */
  transport?: Transport | 'configured'
  /** Awaited when the gateway is built, before it starts. */
  beforeStart?: () => Promise<void>
}

export interface Gateway {
  app: App
  url: string
  port: number
  adminUrl: string
  databaseUrl: string
  clock: TestClock
  secretKey: string
  /** Mails that were handed to the mail server; see mails.ts. */
  messages: readonly Message[]
  /** The file of its configuration. */
  file: string
  /** Writes another configuration, and lets the gateway read it. */
  reload(changed: Pick<GatewayOptions, 'config' | 'routes'>): Promise<ReloadResult>
  /** All log lines so far. */
  log(): Json[]
  close(): Promise<void>
}

/** Production settings, except for cheap password hashes, no limits from loopback, and tests that block the loop which they share with the gateway. */
const DEFAULTS: Json = {
  server: { host: '127.0.0.1', port: 0, publicUrl: 'http://gateway.test', shutdownTimeoutMs: 5000, overload: { maxLoopDelayMs: 0 } },
  admin: { port: 0 },
  tokens: { keyPollSeconds: 1 },
  auth: { password: { argon2: { ...CHEAP, queue: 500 } } },
  limits: { default: [], exempt: ['127.0.0.1/32'] },
  docs: { enabled: false },
}

const isSection = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v)
function merge(base: Json, over: Json): Json {
  const out: Json = { ...base }
  for (const [key, value] of Object.entries(over)) out[key] = isSection(value) && isSection(out[key]) ? merge(out[key], value) : value
  return out
}

export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const { stores = 'postgres', clock = movableClock(), secretKey = randomBytes(32).toString('base64') } = options
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-test-'))
  const databaseUrl = options.databaseUrl ?? (stores === 'embedded' ? 'embedded' : await createDatabase(inject('postgresUrl')))
  const redisUrl = options.redisUrl ?? (stores === 'postgres+redis' ? inject('redisUrl') : 'memory')
  const dataDir = options.dataDir ?? join(dir, 'data')
  if (databaseUrl === 'embedded' && !existsSync(join(dataDir, 'pglite'))) await createDataDir(dataDir)
  const stored: Json = { database: { url: databaseUrl, dataDir }, redis: { url: redisUrl } }
  const file = join(dir, 'config.json')
  // JSON is YAML: the real loader reads it
  const write = ({ config = {}, routes = [] }: Pick<GatewayOptions, 'config' | 'routes'>) =>
    writeFileSync(file, JSON.stringify(merge(merge(merge(DEFAULTS, stored), { routes }), config)))
  write(options)
  const source = { file, env: { PORTCULLIS_SECRET_KEY: secretKey, ...options.env } }
  const { config, secrets, tracing } = loadConfig(source)
  const lines: string[] = []
  const logger = createLogger(config.log.level, { write: (line) => void lines.push(line) })
  const recorder = createRecorder(config)
  const transport = options.transport === 'configured' ? undefined : (options.transport ?? recorder)
  const hasher = hasherFor(config.auth.password.argon2)
  const app = await buildApp({ config, secrets, tracing, source, logger, clock, resolve: options.resolve, transport, hasher, compilers })
  try {
    await options.beforeStart?.()
    await app.start()
  } catch (error) {
    await app.stop()
    throw error
  }
  const url = await app.server.listen({ host: '127.0.0.1', port: options.port ?? 0 })
  const adminUrl = await app.admin!.listen({ host: '127.0.0.1', port: 0 })
  app.reloader!.begin()
  return {
    app,
    url,
    adminUrl,
    databaseUrl,
    clock,
    secretKey,
    messages: recorder.messages,
    port: Number(new URL(url).port),
    file,
    reload(changed) {
      write(changed)
      return app.reloader!.reload('command')
    },
    log: () => lines.map((line) => JSON.parse(line)),
    async close() {
      await app.stop()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** `portcullis_name{label="value"} 3` → 3; 0 when the series does not exist. Labels may be a part of the series' labels, in any order. */
export async function metric(gateway: Gateway, name: string, labels: Record<string, string> = {}): Promise<number> {
  const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
  const rows = text.split('\n').filter((l) => l.startsWith(`${name}{`) || l.startsWith(`${name} `))
  const wanted = Object.entries(labels).map(([k, v]) => `${k}="${v}"`)
  return rows.filter((l) => wanted.every((w) => l.includes(w))).reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' ') + 1)), 0)
}
