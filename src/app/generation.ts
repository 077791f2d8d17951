/**
 * Everything that follows from one configuration: routes, limits, rules, pages and their router. A reload builds the next generation beside
 * the present one. What outlives a configuration is handed in: stores, keys, counts, streams, servers of upstreams, the listener.
 */
import { setImmediate as letRequestsPass } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Principal } from '../identity/access/principal.ts'
import type { BackgroundQueue } from '../identity/accounts/background-queue.ts'
import { findUserById } from '../identity/users/users.repo.ts'
import type { Config } from '../platform/config/schema.ts'
import { problem } from '../platform/lib/errors.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { CompressionLoad } from '../proxy/forward/compression.ts'
import type { Streams, StreamTerms } from '../proxy/forward/streams.ts'
import type { Stalls } from '../proxy/forward/watchdog.ts'
import { findRoute } from '../proxy/routing/match-route.ts'
import { matchTarget } from '../proxy/routing/request-target.ts'
import { type Route, type RouteTable, routesFor } from '../proxy/routing/route-table.ts'
import type { PreparedUpstreams, UpstreamServers } from '../proxy/upstream/upstreams.ts'
import { type Access, createAccess } from './access.ts'
import { createAccountApi } from './account-api.ts'
import { createAnswerNavigation } from './answer-navigation.ts'
import type { HealthReport } from './console/health-history.ts'
import { createConsoleListener } from './console-listener.ts'
import { createPublicConsole } from './console-public.ts'
import { mountForwardAuth } from './forward-auth.ts'
import { type Identity, underConfig } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Handlers, Listener } from './listener.ts'
import { createLoginServices } from './login-services.ts'
import type { Observer } from './observe.ts'
import { mountOwnEndpoints, ownMethodsOf } from './own-endpoints.ts'
import { createPageFrame } from './page-frame.ts'
import { type Platform, withConfig } from './platform.ts'
import { createProxy } from './proxy.ts'
import { createServer, handlersOf, type SchemaCompilers } from './server.ts'

/** The parts that all generations of a process share. */
export interface Lasting {
  platform: Platform
  identity: Identity
  limits: Limits
  observer: Observer
  servers: UpstreamServers
  streams: Streams
  compressions: CompressionLoad
  stalls: Stalls
  connections: Listener['connections']
  backgroundQueue: BackgroundQueue
  compilers: SchemaCompilers
  /** This process has the admin listener. */
  hasAdmin: boolean
  /** The errors of all processes, newest first. */
  lastErrors(): Promise<ErrorRecord[]>
  /** The health of all processes in the last hour. */
  health(): Promise<HealthReport>
  /** Calls `log` in one of the gateway's processes only. */
  logOnce(reason: string, log: () => void): void
  isStopping(): boolean
}

export interface Generation {
  config: Config
  platform: Platform
  identity: Identity
  access: Access
  handlers: Handlers
  /** Only for questions about its endpoints. */
  app: FastifyInstance
  upstreams: PreparedUpstreams
  table: RouteTable
  /** The console of the admin listener. Null: there is none. */
  console: FastifyInstance | null
}

/** @param before the generation in force; null at the start @throws when a file that the configuration names cannot be used */
export async function buildGeneration(lasting: Lasting, config: Config, before: Generation | null): Promise<Generation> {
  const {
    limits,
    observer,
    servers,
    streams,
    compressions,
    stalls,
    connections,
    backgroundQueue,
    lastErrors,
    health,
    logOnce,
    isStopping,
  } = lasting
  await lasting.platform.dataFiles.prepare(config)
  const platform = before ? withConfig(lasting.platform, config) : lasting.platform
  const identity = before ? underConfig(lasting.identity, platform) : lasting.identity
  const { clock, logger } = platform
  // requests of the generation in force must not wait for the whole building
  await letRequestsPass()
  const access = before && hasSameAccess(before.config, config) ? before.access : createAccess(platform, identity, limits)
  const proxy = createProxy({
    platform,
    identity,
    limits,
    authenticate: access.authenticate,
    cookies: access.browser?.authentication ?? null,
    data: platform.data,
    servers,
    streams,
    compressions,
    stalls,
    ownMethods: (path) => ownMethodsOf(app, path),
    logOnce,
    isStopping,
  })
  const { pipeline, cors, table, upstreams } = proxy
  for (const [i, route] of table.routes.entries()) admissions.set(route, admissionOf(config, config.routes[i]!))
  const { browser } = config.auth
  const frame = browser.enabled ? createPageFrame(config, platform.texts, access.crossSite) : null
  const hasFactor = async (userId: string) => (await findUserById(platform.db, userId))?.mfa_enabled === true
  const answerNavigation = frame && createAnswerNavigation({ frame, clock, origins: browser.origins, hasFactor })
  const app = createServer({
    config,
    clock,
    logger,
    pipeline,
    cors,
    observer,
    connections,
    answerNavigation,
    compilers: lasting.compilers,
  })
  await letRequestsPass()
  const loginServices = createLoginServices({ platform, identity, access, limits })
  const accountApi = createAccountApi({
    platform,
    identity,
    access,
    loginServices,
    frame,
    backgroundQueue,
    mountConsole: frame && createPublicConsole({ platform, identity, access, frame, lastErrors, health }),
    lastErrors,
  })
  await letRequestsPass()
  await mountOwnEndpoints(app, {
    config,
    identity,
    accountApi,
    texts: frame?.texts ?? null,
    limits: access.ownLimits,
    hasCookie: access.browser?.authentication.hasCookie ?? (() => false),
    isStopping,
  })
  await letRequestsPass()
  await mountForwardAuth(app, { config, pipeline, crossSite: access.crossSite })
  await proxy.mount(app)
  await letRequestsPass()
  app.setNotFoundHandler(() => {
    throw problem('route_not_found')
  })
  const console = lasting.hasAdmin
    ? createConsoleListener({ platform, identity, access, loginServices, observer, lastErrors, health })
    : null
  await Promise.all([app.ready(), console?.ready()])
  return { config, platform, identity, access, handlers: handlersOf(app, pipeline, cors), app, upstreams, table, console }
}

/** Sections that say nothing about who sent a request: what is remembered of credentials stays when only these change. */
const OTHER_SECTIONS = new Set(['routes', 'log', 'cors', 'streams', 'docs', 'reload'])

function hasSameAccess(before: Config, next: Config): boolean {
  const about = (config: Config) => JSON.stringify(Object.entries(config).filter(([section]) => !OTHER_SECTIONS.has(section)))
  return about(before) === about(next)
}

/** What admitted a stream: its route, the networks and the servers. */
const admissions = new WeakMap<Route, string>()

function admissionOf({ server }: Config, { name, match, access, networks, upstream, websocket }: Config['routes'][number]): string {
  const { allow, deny, allowFile, denyFile } = networks
  const isByAddress =
    allow.length + deny.length > 0 ||
    allowFile !== undefined ||
    denyFile !== undefined ||
    (typeof access === 'object' && access.countries !== undefined)
  const servers = upstream.map((one) => (typeof one === 'string' ? [one, null] : [one.url, one.tls]))
  const proxies = isByAddress ? [server.trustedProxies, server.forwardedBy] : null
  return JSON.stringify([name, match, access, networks, servers, websocket, proxies])
}

/** @param before null at the start */
export function streamTermsOf({ config, access, table }: Generation, before: Generation | null): StreamTerms {
  const hasOtherIssuers = before !== null && JSON.stringify(before.config.issuers) !== JSON.stringify(config.issuers)
  const changedRoles = before ? rolesWithOtherGrants(before.config, config) : new Set<string>()
  return {
    cookies: access.browser?.authentication ?? null,
    maxOfOne: config.limits.streams,
    rules: config.streams,
    routes: new Set(table.routes),
    routesBefore: new Set(before?.table.routes),
    routeAfter({ method, exchange: { host, target } }, route) {
      const node = matchTarget(table, host, target)
      if (node === null || typeof node === 'string' || node.own) return null
      const next = findRoute(routesFor(node, target.path), method)
      return next && admissions.get(next) === admissions.get(route) ? next : null
    },
    hasOtherGrants: ({ roles, external }: Principal) =>
      (external !== null && hasOtherIssuers) || [...roles].some((role) => changedRoles.has(role)),
  }
}

/** A principal holds the roles that its roles inherit, too: only its own names need a look. */
function rolesWithOtherGrants({ auth: before }: Config, { auth: next }: Config): Set<string> {
  const about = ({ roles, mfa }: Config['auth'], name: string) => JSON.stringify([roles[name], mfa.requiredForRoles.includes(name)])
  const names = [before, next].flatMap(({ roles, mfa }) => [...Object.keys(roles), ...mfa.requiredForRoles])
  return new Set(names.filter((name) => about(before, name) !== about(next, name)))
}
