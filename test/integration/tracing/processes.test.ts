/** Tracing in processes of their own: every worker delivers, a stop delivers what waits, and a gateway without it loads no package for it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { call, newUser } from '../../support/client.ts'
import { type GatewayProcess, type GatewayProcessOptions, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { childrenOf } from '../../support/proc.ts'
import { until } from '../../support/processes.ts'
import { startTraceReceiver, type TraceReceiver } from '../../support/trace-receiver.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let receiver: TraceReceiver
let upstream: Upstream
const dir = mkdtempSync(join(tmpdir(), 'portcullis-tracing-'))
beforeAll(async () => {
  receiver = await startTraceReceiver()
  upstream = await startUpstream()
})
afterAll(async () => {
  await Promise.all([upstream.close(), receiver.close()])
  rmSync(dir, { recursive: true, force: true })
})

/** Writes the name of each package that a process loads to a file, also in the processes that it starts. */
const loadedFile = (name: string) => join(dir, name)
const watchingPackages = (file: string) => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`
    import { appendFileSync } from 'node:fs'
    import { registerHooks } from 'node:module'
    const load = (url, context, next) => {
      const name = /.*node_modules\\/(@[^/]+\\/[^/]+|[^/]+)/.exec(url)?.[1]
      if (name) appendFileSync(${JSON.stringify(file)}, name + '\\n')
      return next(url, context)
    }
    registerHooks({ load })`)}`,
})
const packagesIn = (file: string) => [...new Set(readFileSync(file, 'utf8').split('\n'))]
const ofOpenTelemetry = (file: string) => packagesIn(file).filter((name) => name.startsWith('@opentelemetry/'))

async function withGateway(options: Partial<GatewayProcessOptions>, work: (gateway: GatewayProcess) => Promise<void>): Promise<void> {
  const routes = [{ name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' }]
  const gateway = await startGatewayProcess({ routes, ...options })
  try {
    await work(gateway)
  } finally {
    await gateway.stop()
  }
}

it('without a collector, no package that delivers spans is loaded', async () => {
  const file = loadedFile('off')
  await withGateway({ env: watchingPackages(file) }, async (gateway) => {
    expect((await call(gateway, '/public')).status).toBe(200)
    expect(packagesIn(file)).toEqual(expect.arrayContaining(['fastify', 'undici', 'kysely']))
    // prom-client loads it, for metrics
    expect(ofOpenTelemetry(file)).toEqual(['@opentelemetry/api'])
    expect(gateway.logLines().join('\n')).not.toContain('traces')
  })
})

describe('with several workers', () => {
  it('each worker delivers its spans, and a stop delivers what waits', async () => {
    const file = loadedFile('workers')
    const env = {
      OTEL_TRACES_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url.replace('://', '://user:hidden-password@'),
      OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=hidden-key',
      OTEL_TRACES_SAMPLER: 'parentbased_always_on',
      OTEL_BSP_SCHEDULE_DELAY: '600000',
      OTEL_SERVICE_NAME: 'edge',
      ...watchingPackages(file),
    }
    const stores = { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') }
    await withGateway({ server: { workers: 2 }, stores, env }, async (gateway) => {
      await until(() => gateway.logLines().some((line) => line.includes('portcullis is listening')), 'both workers')
      expect(ofOpenTelemetry(file)).toContain('@opentelemetry/sdk-trace')
      const [notice, ...more] = gateway.logLines().filter((line) => line.includes('recorded as traces'))
      expect(more).toEqual([])
      expect(JSON.parse(notice!)).toMatchObject({ endpoint: receiver.url, protocol: 'http/protobuf', sampler: 'parentbased_always_on' })
      await newUser(gateway)
      // the process that hashes passwords needs none of these variables
      const hashing = gateway.children().flatMap(childrenOf)
      expect(hashing.length).toBeGreaterThan(0)
      for (const pid of hashing) expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain('OTEL_')
      // connections are shared among the workers: enough of them reach both
      for (let i = 0; i < 20; i++) await get(`${gateway.url}/public`)
      expect(receiver.spans()).toEqual([])
      await gateway.stop()
      const servers = receiver.spans().filter(({ name }) => name === 'GET public')
      expect(servers).toHaveLength(20)
      expect(new Set(servers.map(({ resource }) => resource['process.pid'])).size).toBe(2)
      expect(servers[0]!.resource).toMatchObject({ 'service.name': 'edge', 'telemetry.sdk.language': 'nodejs' })
    })
  })
})

describe('a wrong variable', () => {
  const config = join(dir, 'portcullis.yaml')
  beforeAll(() => writeFileSync(config, 'routes: []\n'))

  it('ends the start, and is a problem for check', async () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318/hidden-key',
      OTEL_EXPORTER_OTLP_HEADERS: 'hidden-key',
      OTEL_TRACES_SAMPLER: 'sometimes',
    }
    const secret = { PORTCULLIS_SECRET_KEY: Buffer.alloc(32, 7).toString('base64') }
    for (const ran of [await runCli(['check', config], env), await runCli(['serve', config], { ...env, ...secret })]) {
      expect(ran.code).toBe(2)
      for (const name of Object.keys(env)) expect(ran.stderr).toContain(`${name}: `)
      expect(ran.stderr + ran.stdout).not.toContain('hidden-key')
    }
  })

  it('is not looked at while tracing is off', async () => {
    expect(await runCli(['check', config], { OTEL_TRACES_SAMPLER: 'sometimes' })).toMatchObject({ code: 0 })
  })

  it('is not printed by check --print, and neither is a right one', async () => {
    const ran = await runCli(['check', config, '--print'], {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://user:hidden@collector.test',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=hidden',
    })
    expect(ran.code).toBe(0)
    expect(ran.stdout + ran.stderr).not.toContain('hidden')
  })
})
