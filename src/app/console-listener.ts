/** Builds the console on the admin listener. It has its own login and its own cookie, and answers in the process that has the listener. */
import http, { type IncomingMessage } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import { createCrossSite } from '../identity/access/cross-site.ts'
import { createRequireAuth } from '../identity/access/require-auth.ts'
import { html } from '../identity/pages/html.ts'
import { languageOf } from '../identity/pages/language.ts'
import { createPageCookies } from '../identity/pages/page-cookies.ts'
import { createPageKit, messageOf } from '../identity/pages/page-kit.ts'
import { createPageSessions } from '../identity/pages/page-sessions.ts'
import { createReturnTo } from '../identity/pages/return-to.ts'
import type { Config } from '../platform/config/schema.ts'
import { problem, unavailable } from '../platform/lib/errors.ts'
import { createClientReader, parseNetworks } from '../platform/request/client-address.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { createReceive } from '../proxy/routing/receive.ts'
import { compileRoutes } from '../proxy/routing/route-table.ts'
import type { Access } from './access.ts'
import { ADMIN_BODY_BYTES, CONSOLE_BASE } from './admin-server.ts'
import { mountConsole } from './console/console.ts'
import type { HealthReport } from './console/health-history.ts'
import { createJudgeHost } from './console/hosts.ts'
import { defineLogin } from './console/login.pages.ts'
import type { ConsoleParts } from './console/section.ts'
import { sectionsOf } from './console/sections.ts'
import { createConsoleLook } from './console-look.ts'
import { noteError, toProblem } from './error-handler.ts'
import { DB_LAG_SECONDS } from './gauges.ts'
import type { Identity } from './identity.ts'
import type { LoginServices } from './login-services.ts'
import type { Observer } from './observe.ts'
import type { Platform } from './platform.ts'
import { mountPageBasics } from './ui.ts'

export interface ConsoleListenerDeps {
  platform: Platform
  identity: Identity
  access: Access
  loginServices: LoginServices
  observer: Observer
  /** The errors of all processes, newest first. */
  lastErrors(): Promise<ErrorRecord[]>
  /** The health of all processes in the last hour. */
  health(): Promise<HealthReport>
}

/** There is a console, on this listener or on the public listener. */
export const hasConsole = ({ auth: { browser } }: Config): boolean => browser.enabled && browser.console !== 'off'

/** The console is in the process that has the admin listener. */
export const hasConsoleListener = ({ auth: { browser } }: Config): boolean => browser.enabled && browser.console === 'admin'

/** @returns answers the requests below /console; null when the configuration has no console there */
export function createConsoleListener(deps: ConsoleListenerDeps): FastifyInstance | null {
  const { platform, identity, access, loginServices, observer, lastErrors, health } = deps
  const { config, clock, db, texts, logger, secrets } = platform
  const { revocations } = identity
  if (!hasConsoleListener(config)) return null
  const { trustedProxies, forwardedBy, maxHeaders, maxTargetBytes } = config.server

  // the admin listener has its own scheme, which publicUrl says nothing about, and no other origin may use the console
  const crossSite = createCrossSite({ server: { publicUrl: 'http://localhost', forwardedBy }, auth: { browser: { origins: [] } } })
  const readClient = createClientReader(parseNetworks(trustedProxies)!, parseNetworks(config.limits.exempt)!, forwardedBy)
  const receive = createReceive({ table: compileRoutes({ ...config, routes: [] }), readClient, maxHeaders, maxTargetBytes })
  const pageCookies = createPageCookies(crossSite)
  const { cookies, authentication } = access.cookieAccess('console', crossSite)
  // the cookie of the console is the only credential here, and no limit of the public listener counts
  const requireAuth = createRequireAuth(
    () => null,
    () => {},
    { ...authentication, countAnonymous: () => {} },
  )
  const parts: ConsoleParts = {
    base: CONSOLE_BASE,
    config,
    db,
    read: platform.database.read,
    clock,
    data: platform.data,
    secrets,
    ...identity,
    lastErrors,
    health,
  }
  const sections = sectionsOf(parts)
  const logoutPath = `${CONSOLE_BASE}/logout`
  const { assets, layout } = createConsoleLook({ config, texts, base: CONSOLE_BASE, logoutPath, sections })
  const kit = createPageKit({ base: CONSOLE_BASE, layout, texts, crossSite, requireAuth })
  const returnTo = createReturnTo(crossSite, config.auth.prefix)
  const loginFor = (target: string) => returnTo.to(`${CONSOLE_BASE}/login`, target)

  async function register(app: FastifyInstance): Promise<void> {
    app.addHook('onRequest', async (request, reply) => {
      const exchange = receive(request.raw as IncomingMessage)
      exchange.label = (request.routeOptions.config as { name?: string }).name ?? 'console'
      observer.begin(exchange, request.raw as IncomingMessage, reply.raw)
      reply.header('x-request-id', exchange.requestId)
      if (exchange.refusal) throw exchange.refusal
      // the poll of revocations notices a hanging database first: answer at once, not after a time-out of each request
      const { isAsset } = request.routeOptions.config as { isAsset?: true }
      if (!isAsset) await revocations.ready()
      if (!isAsset && revocations.isLoaded() && revocations.lagSeconds() > DB_LAG_SECONDS)
        throw unavailable(revocations.lastError() ?? 'the database does not answer')
    })
    app.setErrorHandler((error: Error, request, reply) => {
      const exchange = exchangeOf(request.raw)
      const known = toProblem(error, request)
      noteError(logger, exchange, error, known)
      const language = languageOf(request.headers, texts)
      const { text } = language
      if (known.headers) reply.headers(known.headers)
      kit.send(request, reply, {
        title: text('console.error'),
        status: known.status,
        body: html`<p>${known.status < 500 ? messageOf(known, language) : text('page.try-again')}</p><p class="hint">${text('page.request-id', { id: exchange.requestId })}</p>`,
      })
      return reply
    })
    app.setNotFoundHandler(() => {
      throw problem('not_found')
    })
    await app.register(async (scope) => {
      mountPageBasics(scope, { base: CONSOLE_BASE, home: CONSOLE_BASE, assets, texts, name: 'console' })
      mountConsole(scope, { parts, kit, texts, sections, judgeHost: createJudgeHost(config, crossSite, cookies), loginFor, logoutPath })
      defineLogin(scope, kit, {
        ...loginServices,
        db,
        sessions: createPageSessions(cookies, pageCookies, crossSite),
        cookies: pageCookies,
        returnTo,
      })
    })
  }

  const console = Fastify({
    logger: false,
    return503OnClosing: false,
    bodyLimit: ADMIN_BODY_BYTES,
    // never listens: the admin listener hands requests over
    serverFactory: () => http.createServer(),
  })
  void console.register(register, { prefix: CONSOLE_BASE })
  return console
}
