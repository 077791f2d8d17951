/** Composition root: builds every part once and passes it to the parts that need it. Nothing listens yet. */
import type http from 'node:http'
import type https from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { createBackgroundQueue } from '../identity/accounts/background-queue.ts'
import type { Config } from '../platform/config/schema.ts'
import { schedule } from '../platform/jobs/schedule.ts'
import { systemClock } from '../platform/lib/clock.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { expose } from '../platform/telemetry/exposition.ts'
import { createStreams } from '../proxy/forward/streams.ts'
import { createRedirectServer } from '../proxy/https-only.ts'
import type { Resolve } from '../proxy/upstream/dns.ts'
import { createUpstreams } from '../proxy/upstream/upstreams.ts'
import { acmeTlsOf, createAcmeFollower, createAcmeIssuer } from './acme.ts'
import { type CheckResult, createAdminServer } from './admin-server.ts'
import { followCertificate, readCertificate, tlsFilesOf } from './certificate.ts'
import { createHealthHistory } from './console/health-history.ts'
import { readHealth } from './console/health-reading.ts'
import { hasConsole, hasConsoleListener } from './console-listener.ts'
import { isDatabaseUp, showConfig, showGauges } from './gauges.ts'
import { buildGeneration, type Generation, type Lasting, streamTermsOf } from './generation.ts'
import { createLimits } from './limits.ts'
import { createListener, type Listener } from './listener.ts'
import type { LoadOptions } from './load-config.ts'
import { createObserver } from './observe.ts'
import { createGate } from './overload/gate.ts'
import { createReloader, type PreparedReload, type Reloader } from './reload.ts'
import { createSchemaCompilers } from './schema-compilers.ts'
import type { SchemaCompilers } from './server.ts'
import { keyringJob, openServices, type Services, type ServicesOptions } from './services.ts'

export interface GatewayOptions extends ServicesOptions {
  /** Resolves the names of upstreams. Default: the system's resolver. */
  resolve?: Resolve | undefined
  /** Compile the schemas of endpoints. Default: Fastify's compilers. */
  compilers?: SchemaCompilers | undefined
  /** Where the configuration came from. Without it, it cannot be read again. */
  source?: LoadOptions | undefined
  /** The demo's admin may keep the generated password. */
  adminMustChangePassword?: boolean
}

export interface App {
  /** Of the configuration in force, like `identity`. */
  readonly platform: Services['platform']
  readonly identity: Services['identity']
  /** The public listener. */
  server: Listener
  /** The router of the configuration in force. */
  router(): FastifyInstance
  /** Null in a worker: the supervisor has the admin server. */
  admin: FastifyInstance | null
  /** Redirects http to https; null without `tls.redirectPort`. */
  redirect: http.Server | null
  checks(): CheckResult[]
  /** The errors of this process, newest first. */
  lastErrors(): ErrorRecord[]
  /** Prepares the database and loads keys and revocations. Afterwards the gateway may listen. */
  start(): Promise<void>
  /**
   * Builds everything that follows from another configuration, beside what is in force. Settings that need a restart must be those in force.
   * @throws when a file that the configuration names cannot be used
   */
  prepareReload(config: Config): Promise<PreparedReload>
  /** Of a gateway of one process. Null in a worker: the supervisor reads the configuration. */
  reloader: Reloader | null
  /** Reports not ready, finishes the requests in flight and closes everything. */
  stop(): Promise<void>
}

export async function buildApp(options: GatewayOptions): Promise<App> {
  const { team } = options
  let isStopping = false
  const services = await openServices(options)
  const { platform, identity } = services
  const { config, logger, clock, metrics, secrets } = platform
  const { keyring, revocations } = identity
  const limits = createLimits(platform, config.server.replicas * (team?.workers ?? 1))
  const observer = createObserver({ config: config.log, clock, logger, metrics })
  const { tls } = config.server
  const files = tlsFilesOf(config)
  const certificate = files && readCertificate(files)
  const acmeTls = acmeTlsOf(config)
  const acme = acmeTls && createAcmeFollower(platform, acmeTls)
  const streams = createStreams({ revocations, clock, metrics })
  const stalls = { open: 0 }
  let current: Generation
  const gate = createGate({
    config,
    clock,
    steady: systemClock,
    logger,
    metrics,
    inFlight: () => observer.inFlight() - streams.count() - stalls.open,
    isKnown: (headers) => current.access.isKnown(headers),
    fields: (req) => (req === null ? current.handlers.rawFields : current.handlers.errorFields(req)),
  })
  const listener = createListener({ config, clock, observer, metrics, gate, certificate, acme })
  const certificateFiles =
    certificate &&
    followCertificate(files!, certificate, listener.server as https.Server, logger, ({ notAfter }) =>
      metrics.tlsNotAfter.collectFrom(() => notAfter / 1000),
    )
  const servers = createUpstreams({ clock, logger, metrics, secrets, resolve: options.resolve })
  metrics.upstreamBreakerState.collectFrom(function* () {
    for (const [name, state] of servers.states()) yield [name, BREAKER_VALUES[state]]
  })
  metrics.upstreamHealthy.collectFrom(function* () {
    for (const [name, isHealthy] of servers.checked()) yield [name, Number(isHealthy)]
  })
  const history = createHealthHistory({ clock, read: async () => new Map([[0, await readHealth(metrics)]]) })
  const lasting: Lasting = {
    platform,
    identity,
    limits,
    observer,
    servers,
    streams,
    compressions: { open: 0 },
    stalls,
    connections: listener.connections,
    backgroundQueue: createBackgroundQueue(logger),
    compilers: options.compilers ?? createSchemaCompilers(),
    hasAdmin: !team,
    lastErrors: async () => (team ? team.siblings.lastErrors() : observer.lastErrors()),
    health: async () => (team ? team.siblings.health() : history.report()),
    logOnce: (reason, log) => (team ? void team.siblings.isFirstNotice(reason).then((isFirst) => isFirst && log()) : log()),
    isStopping: () => isStopping,
  }

  function putInForce(next: Generation, before: Generation | null): void {
    current = next
    next.upstreams.commit()
    streams.adopt(streamTermsOf(next, before))
    services.keepOnly(next.config)
    listener.use(next.handlers, next.config.routes)
    void before?.handlers.close()
    void before?.console?.close()
  }
  putInForce(await buildGeneration(lasting, config, null), null)

  async function prepareReload(next: Config): Promise<PreparedReload> {
    const files = tlsFilesOf(next)
    const certificate = files && readCertificate(files)
    const generation = await buildGeneration(lasting, next, current).catch((error) => {
      services.keepOnly(current.config)
      throw error
    })
    return {
      commit() {
        putInForce(generation, current)
        observer.logBy(next.log)
        logger.level = next.log.level
        platform.composeBy(generation.platform)
        certificateFiles?.use(files!, certificate!)
        acme?.use(acmeTlsOf(next)!)
        issuer?.hurry()
      },
      cancel() {
        generation.upstreams.cancel()
        services.keepOnly(current.config)
        void generation.handlers.close()
        void generation.console?.close()
      },
    }
  }

  const issuer = team
    ? null
    : createAcmeIssuer(
        platform,
        options.secrets.acmeHmacKey,
        () => current.config,
        () => listener.server.listening,
      )

  const checks = (): CheckResult[] => [
    { name: 'listening', ok: listener.server.listening && !isStopping, required: true },
    { name: 'signing keys loaded', ok: keyring.status().length > 0, required: true },
    { name: 'revocations loaded', ok: revocations.isLoaded(), required: true },
    { name: 'database', ok: isDatabaseUp(platform, identity), required: false },
    { name: 'redis', ok: limits.isRedisUp(), required: false },
    // not required: a balancer sends the challenge for the first certificate only to a gateway that is ready
    ...(acme ? [{ name: 'certificate', ok: acme.hasCertificate(), required: false }] : []),
    ...clockCheck(clock.skewSeconds()),
  ]
  const console = hasConsoleListener(config) ? () => current.console! : null
  const reloader = team
    ? null
    : createReloader({ source: options.source ?? null, config, secrets: options.secrets, prepare: prepareReload, logger, metrics, clock })
  const admin =
    reloader &&
    createAdminServer({
      metrics: (format) => expose(metrics.registry, format),
      checks,
      reload: () => reloader.reload('command'),
      console,
    })
  if (!team) {
    metrics.workers.collectFrom(() => 1)
    showConfig(metrics, config, clock)
  }
  const redirect = tls?.redirectPort === undefined ? null : createRedirectServer(() => current.config, acme?.answerHttp ?? null)
  const stopGauges = showGauges(platform, identity, limits)
  const ownJobs = [keyringJob(services)]
  // the process with the admin listener has the history
  if (!team && hasConsole(config)) ownJobs.push(history.job)
  if (issuer) ownJobs.push(issuer.job)
  let stopJobs = async () => {}

  return {
    get platform() {
      return current.platform
    },
    get identity() {
      return current.identity
    },
    server: listener,
    router: () => current.app,
    admin,
    redirect,
    checks,
    lastErrors: observer.lastErrors,
    async start() {
      if (team) await keyring.load()
      else await identity.prepare({ ...options.secrets, mustChangePassword: options.adminMustChangePassword })
      await revocations.start()
      await acme?.start(listener.server as https.Server)
      stopJobs = schedule(team ? ownJobs : [...ownJobs, ...services.jobs], logger)
      await admin?.ready()
    },
    prepareReload,
    reloader,
    async stop() {
      isStopping = true
      reloader?.stop()
      await pause(config.server.shutdownDelayMs)
      streams.endAll()
      certificateFiles?.stop()
      acme?.stop()
      await listener.close(config.server.shutdownTimeoutMs)
      await lasting.backgroundQueue.settled()
      await stopJobs()
      stopGauges()
      streams.stop()
      gate.stop()
      await servers.close()
      await admin?.close()
      redirect?.close().closeAllConnections()
      await services.close()
    },
  }
}

const BREAKER_VALUES = { closed: 0, 'half-open': 1, open: 2 }
const MAX_SKEW_SECONDS = 60

/** The gateway uses the time of the database, so a wrong clock of the machine harms only what else reads it, such as the log. */
const clockCheck = (skewSeconds: number): CheckResult[] =>
  Math.abs(skewSeconds) > MAX_SKEW_SECONDS
    ? [{ name: `clock (${Math.round(skewSeconds)} s beside the database)`, ok: false, required: false }]
    : []
