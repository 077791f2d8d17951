/** Composition root: builds every part once and passes it to the parts that need it. Nothing listens yet. */
import type http from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { findUserById } from '../identity/users/users.repo.ts'
import { schedule } from '../platform/jobs/schedule.ts'
import { systemClock } from '../platform/lib/clock.ts'
import { problem } from '../platform/lib/errors.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { createRedirectServer } from '../proxy/https-only.ts'
import type { Resolve } from '../proxy/upstream/dns.ts'
import { createAccess } from './access.ts'
import { createAccountApi } from './account-api.ts'
import { type CheckResult, createAdminServer } from './admin-server.ts'
import { createAnswerNavigation } from './answer-navigation.ts'
import { createHealthHistory } from './console/health-history.ts'
import { readHealth } from './console/health-reading.ts'
import { createConsoleListener, hasConsole } from './console-listener.ts'
import { createPublicConsole } from './console-public.ts'
import { DB_LAG_SECONDS, showGauges } from './gauges.ts'
import { createLimits } from './limits.ts'
import { createLoginServices } from './login-services.ts'
import { createObserver } from './observe.ts'
import { createGate } from './overload/gate.ts'
import { mountOwnEndpoints, ownMethodsOf } from './own-endpoints.ts'
import { createPageFrame } from './page-frame.ts'
import { createProxy } from './proxy.ts'
import { createServer, type SchemaCompilers } from './server.ts'
import { keyringJob, openServices, type Services, type ServicesOptions } from './services.ts'

export interface GatewayOptions extends ServicesOptions {
  /** Resolves the names of upstreams. Default: the system's resolver. */
  resolve?: Resolve | undefined
  /** Compile the schemas of endpoints. Default: Fastify's compilers. */
  compilers?: SchemaCompilers | undefined
  /** The demo's admin may keep the generated password. */
  adminMustChangePassword?: boolean
}

export interface App extends Pick<Services, 'platform' | 'identity'> {
  server: FastifyInstance
  /** Null in a worker: the supervisor has the admin server. */
  admin: FastifyInstance | null
  /** Redirects http to https; null without `tls.redirectPort`. */
  redirect: http.Server | null
  checks(): CheckResult[]
  /** The errors of this process, newest first. */
  lastErrors(): ErrorRecord[]
  /** Prepares the database and loads keys and revocations. Afterwards the gateway may listen. */
  start(): Promise<void>
  /** Reports not ready, finishes the requests in flight and closes everything. */
  stop(): Promise<void>
}

export async function buildApp(options: GatewayOptions): Promise<App> {
  const { team } = options
  let isStopping = false
  const services = await openServices(options)
  const { platform, identity } = services
  const { config, logger, clock, metrics } = platform
  const limits = createLimits(platform, config.server.replicas * (team?.workers ?? 1))
  const access = createAccess(platform, identity, limits)
  const proxy = createProxy({
    platform,
    identity,
    limits,
    authenticate: access.authenticate,
    cookies: access.browser?.authentication ?? null,
    resolve: options.resolve,
    ownMethods: (path) => ownMethodsOf(server, path),
    logOnce: (reason, log) => (team ? void team.siblings.isFirstNotice(reason).then((isFirst) => isFirst && log()) : log()),
    isStopping: () => isStopping,
  })
  const observer = createObserver({ config: config.log, clock, logger, metrics })
  const { pipeline, cors } = proxy
  const { browser } = config.auth
  const frame = browser.enabled ? createPageFrame(config, platform.texts, access.crossSite) : null
  const hasFactor = async (userId: string) => (await findUserById(platform.db, userId))?.mfa_enabled === true
  const answerNavigation = frame && createAnswerNavigation({ frame, clock, origins: browser.origins, hasFactor })
  const gate = createGate({
    config,
    clock,
    steady: systemClock,
    logger,
    metrics,
    inFlight: () => observer.inFlight() - proxy.streamsOpen(),
    isKnown: access.isKnown,
    fields: cors.rawFields,
  })
  const listener = createServer({
    config,
    clock,
    logger,
    pipeline,
    cors,
    observer,
    metrics,
    gate,
    answerNavigation,
    compilers: options.compilers,
  })
  const server = listener.app
  const loginServices = createLoginServices({ platform, identity, access, limits })
  const lastErrors = async () => (team ? team.siblings.lastErrors() : observer.lastErrors())
  const history = createHealthHistory({ clock, read: async () => new Map([[0, await readHealth(metrics)]]) })
  const health = async () => (team ? team.siblings.health() : history.report())
  const accountApi = createAccountApi({
    platform,
    identity,
    access,
    loginServices,
    frame,
    mountConsole: frame && createPublicConsole({ platform, identity, access, frame, lastErrors, health }),
    lastErrors,
  })
  await mountOwnEndpoints(server, {
    config,
    identity,
    accountApi,
    texts: frame?.texts ?? null,
    limits: access.ownLimits,
    hasCookie: access.browser?.authentication.hasCookie ?? (() => false),
    isStopping: () => isStopping,
  })
  await proxy.mount(server)
  server.setNotFoundHandler(() => {
    throw problem('route_not_found')
  })

  const { keyring, revocations } = identity
  const checks = (): CheckResult[] => [
    { name: 'listening', ok: server.server.listening && !isStopping, required: true },
    { name: 'signing keys loaded', ok: keyring.status().length > 0, required: true },
    { name: 'revocations loaded', ok: revocations.isLoaded(), required: true },
    { name: 'database', ok: revocations.lagSeconds() < DB_LAG_SECONDS, required: false },
    { name: 'redis', ok: limits.isRedisUp(), required: false },
    ...clockCheck(clock.skewSeconds()),
  ]
  const { registry } = metrics
  const readMetrics = () => registry.metrics()
  const mountConsole = createConsoleListener({ platform, identity, access, loginServices, observer, lastErrors, health })
  const admin = team ? null : createAdminServer({ metrics: readMetrics, contentType: registry.contentType, checks, mountConsole })
  if (!team) metrics.workers.collectFrom(() => 1)
  const redirect = config.server.tls?.redirectPort === undefined ? null : createRedirectServer(config)
  const stopGauges = showGauges(platform, identity, limits)
  const ownJobs = [keyringJob(services)]
  // the process with the admin listener has the history
  if (!team && hasConsole(config)) ownJobs.push(history.job)
  let stopJobs = async () => {}

  return {
    platform,
    identity,
    server,
    admin,
    redirect,
    checks,
    lastErrors: observer.lastErrors,
    async start() {
      if (team) await keyring.load()
      else await identity.prepare({ ...options.secrets, mustChangePassword: options.adminMustChangePassword })
      await revocations.start()
      stopJobs = schedule(team ? ownJobs : [...ownJobs, ...services.jobs], logger)
      await Promise.all([server.ready(), admin?.ready()])
    },
    async stop() {
      isStopping = true
      await pause(config.server.shutdownDelayMs)
      proxy.endStreams()
      await listener.close(config.server.shutdownTimeoutMs)
      await accountApi.settled()
      await stopJobs()
      stopGauges()
      gate.stop()
      await proxy.close()
      await admin?.close()
      redirect?.close().closeAllConnections()
      await services.close()
    },
  }
}

const MAX_SKEW_SECONDS = 60

/** The gateway uses the time of the database, so a wrong clock of the machine harms only what else reads it, such as the log. */
const clockCheck = (skewSeconds: number): CheckResult[] =>
  Math.abs(skewSeconds) > MAX_SKEW_SECONDS
    ? [{ name: `clock (${Math.round(skewSeconds)} s beside the database)`, ok: false, required: false }]
    : []
