/** Composition root: every part is built here, once, and handed to those that need it. Nothing is listening yet. */

import { createHash } from 'node:crypto'
import type http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import helmet from '@fastify/helmet'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { createAuthenticate } from '../identity/access/authenticate.ts'
import { createInvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import { createApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { wellKnownRoutes } from '../identity/oauth/well-known.routes.ts'
import { createSessionOpener } from '../identity/sessions/open-session.ts'
import { createRefreshTokens } from '../identity/sessions/refresh-tokens.ts'
import { createAccessTokens } from '../identity/tokens/access-tokens.ts'
import { createRoles } from '../identity/users/roles.ts'
import type { Config } from '../platform/config/schema.ts'
import type { OpenDatabase } from '../platform/db/database.ts'
import { boundBody } from '../platform/http/slow-body.ts'
import { type Job, schedule } from '../platform/jobs/schedule.ts'
import { problem, unavailable } from '../platform/lib/errors.ts'
import { VERSION } from '../platform/lib/version.ts'
import { createAdmission } from '../platform/limits/admission.ts'
import { createCounterTable } from '../platform/limits/counters.repo.ts'
import { createLimiter } from '../platform/limits/limiter.ts'
import { createRedisGuard } from '../platform/limits/redis-guard.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { createRedirectServer } from '../proxy/https-only.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { createEndpoints } from './account-api.ts'
import { type CheckResult, createAdminServer } from './admin-server.ts'
import { createObserver, newestErrors } from './observe.ts'
import { createProxy } from './proxy.ts'
import { createServer } from './server.ts'
import { type BuildOptions, buildCore, type Core, jobsOf, prepare } from './services.ts'

export interface App {
  core: Core
  server: FastifyInstance
  /** Null for one of several: their supervisor speaks for them. */
  admin: FastifyInstance | null
  /** Sends plain HTTP to https; null unless `tls.redirectPort` asks for it. */
  redirect: http.Server | null
  checks(): CheckResult[]
  /** Of this process, newest first. */
  lastErrors(): ErrorRecord[]
  /** Prepares the database, loads keys and revocations; then the gateway may listen. */
  start(): Promise<void>
  /** Readiness off; what is in flight is finished; everything closes. */
  stop(): Promise<void>
}

export async function buildApp(options: BuildOptions): Promise<App> {
  const { team } = options
  const core = await buildCore(options)
  const { config, logger, clock, metrics, database, db, redis, secrets, keyring, revocations, accounts, outbox } = core

  const guard = createRedisGuard(() => clock.steady())
  const shares = config.server.replicas * (team?.workers ?? 1)
  const limiter = createLimiter({ redis, guard, shares, counters: createCounterTable(db), metrics })
  const accessTokens = createAccessTokens({ keyring, tokens: config.tokens, clock })
  const refreshTokens = createRefreshTokens({ db, accounts, outbox, secrets, tokens: config.tokens, auth: config.auth })
  const grantsOf = createRoles(config.auth.roles)
  const sessionOpener = createSessionOpener({ accessTokens, refreshTokens, grantsOf, config })
  const limitInvalidTokens = createInvalidTokenLimit(limiter, config.limits.credentials)
  const keyAuthentication = createApiKeyAuthentication({ db, revocations, limitInvalidTokens, grantsOf, config, metrics, clock })
  const { authenticate: authenticateKey } = keyAuthentication
  const authenticate = createAuthenticate({
    authenticateKey,
    accessTokens,
    keyring,
    revocations,
    limitInvalidTokens,
    config,
    metrics,
    clock,
  })

  const admission = createAdmission({ redis: redis?.client ?? null, guard, shares, metrics, now: () => clock.steady() })
  let isStopping = false
  const proxy = createProxy({
    config,
    clock,
    logger,
    metrics,
    keyring,
    revocations,
    authenticate,
    admission,
    resolve: options.resolve,
    ownMethods: (path) => OWN_METHODS.filter((method): boolean => server.hasRoute({ method, url: path })),
    isStopping: () => isStopping,
  })
  const observer = createObserver({ config: config.log, clock, logger, metrics })
  const lastErrors = async () => (team ? newestErrors(await team.siblings.lastErrors()) : observer.lastErrors())
  const publicServer = createServer({ config, clock, logger, pipeline: proxy.pipeline, observer, metrics, compilers: options.compilers })
  const server = publicServer.app

  const endpoints = createEndpoints({
    core,
    limiter,
    accessTokens,
    refreshTokens,
    sessionOpener,
    grantsOf,
    keyAuthentication,
    limitInvalidTokens,
    authenticate,
    lastErrors,
  })

  // our own answers: helmet's headers, JSON only, never stored
  await server.register(async (own) => {
    own.addHook('onSend', async (_request, reply) => void (isStopping && reply.header('connection', 'close')))
    // HSTS is of every answer, not of ours alone: server.ts
    await own.register(helmet, { hsts: false })
    own.removeContentTypeParser('text/plain')
    own.addHook('preParsing', boundBody(config.server.headersTimeoutMs))
    own.addHook('onRequest', async (request, reply) => {
      exchangeOf(request.raw).label = (request.routeOptions.config as { name?: string }).name ?? 'auth.docs'
      reply.header('cache-control', 'no-store')
    })
    own.get('/health', { config: { name: 'health' }, schema: { hide: true } as never }, async () => ({ status: 'healthy' }))
    await own.register(wellKnownRoutes({ keyring, config }))
    await own.register(
      async (auth) => {
        // a database that hangs is known by now: told at once, not after a time-out of each request's own
        auth.addHook('onRequest', async () => {
          if (revocations.isLoaded() && revocations.lagSeconds() > DB_LAG_SECONDS)
            throw unavailable(revocations.lastError() ?? 'the database does not answer')
        })
        if (config.docs.enabled) await registerDocs(auth, config)
        await endpoints.register(auth)
      },
      { prefix: config.auth.prefix },
    )
  })

  await proxy.mount(server)
  server.setNotFoundHandler(() => {
    throw problem('route_not_found')
  })

  // a connection that stands and does not answer is no Redis
  const isRedisUp = () => redis === null || (redis.isUp() && !guard.isOpen())
  const checks = (): CheckResult[] => [
    { name: 'listening', ok: server.server.listening && !isStopping, required: true },
    { name: 'signing keys loaded', ok: keyring.status().length > 0, required: true },
    { name: 'revocations loaded', ok: revocations.isLoaded(), required: true },
    { name: 'database', ok: revocations.lagSeconds() < DB_LAG_SECONDS, required: false },
    { name: 'redis', ok: isRedisUp(), required: false },
  ]
  const { registry } = metrics
  const admin = team ? null : createAdminServer({ metrics: () => registry.metrics(), contentType: registry.contentType, checks })
  if (!team) metrics.workers.collectFrom(() => 1)
  const stopSampling = sampleMetrics({ core, database, isRedisUp, breakerOpen: guard.isOpen })

  const ownJobs: Job[] = [{ name: 'signing keys', everySeconds: config.tokens.keyPollSeconds, run: () => keyring.reload() }]
  let stopJobs = async () => {}
  const redirect = config.server.tls?.redirectPort === undefined ? null : createRedirectServer(config)

  return {
    core,
    server,
    admin,
    redirect,
    checks,
    lastErrors: observer.lastErrors,
    async start() {
      if (team) await keyring.load()
      else await prepare(core, options)
      await revocations.start()
      stopJobs = schedule(team ? ownJobs : [...ownJobs, ...jobsOf(core)], logger)
      await Promise.all([server.ready(), admin?.ready()])
    },
    async stop() {
      isStopping = true
      await pause(config.server.shutdownDelayMs)
      proxy.endStreams()
      await publicServer.close(config.server.shutdownTimeoutMs)
      await endpoints.settled()
      await stopJobs()
      stopSampling()
      await proxy.close()
      await admin?.close()
      redirect?.close().closeAllConnections()
      await core.close()
    },
  }
}

const OWN_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
const DB_LAG_SECONDS = 3

async function registerDocs(auth: FastifyInstance, config: Config): Promise<void> {
  await auth.register(swagger, {
    openapi: {
      info: {
        title: 'Portcullis accounts',
        version: VERSION,
        description: 'Register, log in, refresh, log out. Errors are RFC 9457 problem documents.',
      },
      servers: [{ url: config.server.publicUrl }],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    },
  })
  await auth.register(swaggerUi, { routePrefix: '/docs', staticCSP: true })
  auth.get('/openapi.json', { config: { name: 'auth.openapi' }, schema: { hide: true } as never }, async () => auth.swagger())
}

/** Gauges that are read when Prometheus asks, and those that are set now and then. */
function sampleMetrics({
  core,
  database,
  isRedisUp,
  breakerOpen,
}: {
  core: Core
  database: OpenDatabase
  isRedisUp: () => boolean
  breakerOpen: () => boolean
}): () => void {
  const { metrics, revocations, keyring, clock, config } = core
  metrics.dbUp.collectFrom(() => Number(revocations.lagSeconds() < DB_LAG_SECONDS))
  metrics.redisUp.collectFrom(() => Number(isRedisUp()))
  metrics.redisBreakerOpen.collectFrom(() => Number(breakerOpen()))
  metrics.revocationLag.collectFrom(() => revocations.lagSeconds())
  metrics.revokedEntries.collectFrom(() => revocations.size())
  metrics.configReloadSuccess.set(1)
  metrics.configInfo.set({ sha: createHash('sha256').update(JSON.stringify(config)).digest('hex').slice(0, 12) }, 1)
  const sample = () => {
    metrics.signingKeyAge.reset()
    for (const { kid, state, createdAt } of keyring.status())
      metrics.signingKeyAge.set({ kid, state }, (clock.now() - createdAt.getTime()) / 1000)
    const { pool } = database
    if (!pool) return
    metrics.dbPool.set({ state: 'idle' }, pool.idleCount)
    metrics.dbPool.set({ state: 'busy' }, pool.totalCount - pool.idleCount)
    metrics.dbPool.set({ state: 'waiting' }, pool.waitingCount)
  }
  const timer = setInterval(sample, 5000).unref()
  return () => clearInterval(timer)
}
