/** Mounts our own endpoints, with helmet's headers, JSON bodies only and `Cache-Control: no-store`. */
import type { IncomingMessage } from 'node:http'
import { setImmediate as letRequestsPass } from 'node:timers/promises'
import helmet from '@fastify/helmet'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { hasCredential } from '../identity/access/request-credentials.ts'
import { wellKnownRoutes } from '../identity/oauth/well-known.routes.ts'
import { askedLanguage } from '../identity/pages/language.ts'
import type { Config } from '../platform/config/schema.ts'
import { boundBody } from '../platform/http/slow-body.ts'
import { problem, unavailable } from '../platform/lib/errors.ts'
import { limitHeaders } from '../platform/limits/limiter.ts'
import type { Client } from '../platform/request/client-address.ts'
import { contextOf } from '../platform/request/request-context.ts'
import { runInSpan } from '../platform/telemetry/recording.ts'
import type { Texts } from '../platform/texts/texts.ts'
import type { OwnLimits } from '../proxy/rate-limit.ts'
import { exchangeOf } from '../proxy/routing/exchange.ts'
import { asksForServiceWorker, serviceWorkerRefused } from '../proxy/routing/service-worker.ts'
import type { AccountApi } from './account-api.ts'
import { DB_LAG_SECONDS } from './gauges.ts'
import type { Identity } from './identity.ts'
import { openApi } from './openapi.ts'

const OWN_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** The methods of our own endpoints at a path; empty without an endpoint. */
export const ownMethodsOf = (server: FastifyInstance, path: string): string[] =>
  OWN_METHODS.filter((method): boolean => server.hasRoute({ method, url: path }))

/**
 * The policy of the documentation page. It has no `upgrade-insecure-requests`: over plain http and another name than localhost, a browser
 * would ask for every script over https.
 */
const DOCS_POLICY = {
  'default-src': ["'self'"],
  'base-uri': ["'none'"],
  'font-src': ["'self'"],
  'form-action': ["'self'"],
  'frame-ancestors': ["'none'"],
  'img-src': ["'self'", 'data:'],
  'object-src': ["'none'"],
  'script-src': ["'self'"],
  'script-src-attr': ["'none'"],
  // one style sheet that Swagger UI writes into the page; test/browser notices when an update changes it
  'style-src': ["'self'", "'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='"],
}

export interface OwnEndpointsDeps {
  config: Config
  identity: Pick<Identity, 'keyring' | 'revocations'>
  accountApi: AccountApi
  /** Null without pages. */
  texts: Texts | null
  limits: Pick<OwnLimits, 'anonymous'>
  /** Whether the request has a session cookie, valid or not. */
  hasCookie(request: IncomingMessage, client: Client): boolean
  isStopping(): boolean
}

export async function mountOwnEndpoints(
  server: FastifyInstance,
  { config, identity, accountApi, texts, limits, hasCookie, isStopping }: OwnEndpointsDeps,
): Promise<void> {
  const { keyring, revocations } = identity
  await server.register(async (own) => {
    own.addHook('onSend', async (request, reply) => {
      // a refusal names its own limit
      if (!reply.hasHeader('ratelimit')) reply.headers(limitHeaders(exchangeOf(request.raw).decisions))
      if (isStopping()) reply.header('connection', 'close')
    })
    // server.ts sets HSTS, also for responses of upstreams
    await own.register(helmet, { hsts: false })
    readBodies(own)
    own.addHook('preParsing', boundBody(config.server.headersTimeoutMs))
    own.addHook('onRequest', async (request, reply) => {
      if (config.auth.browser.enabled && asksForServiceWorker(request.raw)) throw serviceWorkerRefused('an endpoint of the gateway')
      if (texts) contextOf(request.raw).language = askedLanguage(request.headers, texts)?.code ?? null
      contextOf(request.raw).label = (request.routeOptions.config as { name?: string }).name ?? 'auth.docs'
      reply.header('cache-control', 'no-store')
    })
    // what reads a body calls on under the connection, and no longer under the request
    own.addHook('preValidation', (request, _reply, done) => {
      const { recording } = exchangeOf(request.raw)
      if (recording?.stage) runInSpan(recording, recording.stage, done)
      else done()
    })
    own.get('/health', { config: { name: 'health' }, schema: { hide: true } }, async () => ({ status: 'healthy' }))
    await own.register(wellKnownRoutes({ keyring, config }))
    await own.register(
      async (auth) => {
        // the poll of revocations notices a hanging database first: answer 503 at once, not after a time-out of each request
        auth.addHook('onRequest', async (request) => {
          if (isAsset(request)) return
          await revocations.ready()
          if (revocations.isLoaded() && revocations.lagSeconds() > DB_LAG_SECONDS)
            throw unavailable(revocations.lastError() ?? 'the database does not answer')
        })
        auth.addHook('onRequest', async (request) => {
          if (isAsset(request)) return
          const context = contextOf(request.raw)
          // where the cookie is judged, require-auth.ts counts the request afterwards
          const countsLater = judgesCookie(request) && hasCookie(request.raw, context.client)
          if (countsAsAnonymous(request) && !countsLater) await limits.anonymous(context)
        })
        if (config.docs.enabled) await registerDocs(auth, config)
        await letRequestsPass()
        await accountApi.register(auth)
      },
      { prefix: config.auth.prefix },
    )
  })
}

/**
 * JSON bodies only. Many clients send a content type with every request, also without a body: an empty body is no body, whatever its type.
 * A missing body counts as an empty object, so that the answer names the fields that are missing.
 */
function readBodies(own: FastifyInstance): void {
  own.removeAllContentTypeParsers()
  const parse = own.getDefaultJsonParser('error', 'error')
  own.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text: string, done) =>
    text === '' ? done(null, undefined) : parse(request, text, done),
  )
  own.addContentTypeParser('*', ({ headers }, _payload, done) => {
    // RFC 9112 §6.3
    const isEmpty = (headers['content-length'] ?? '0') === '0' && headers['transfer-encoding'] === undefined
    if (isEmpty) done(null, undefined)
    else done(problem('content_type_unsupported'))
  })
  own.addHook('preValidation', async (request) => {
    if (request.body === undefined && request.routeOptions.schema?.body) request.body = {}
  })
}

/** The page of a refusal needs its style, also when the database is away or a limit is reached. */
const isAsset = ({ routeOptions }: FastifyRequest): boolean => (routeOptions.config as { isAsset?: true }).isAsset === true

/**
 * Pages always count by address, and endpoints that need an access token when there is none. An endpoint that takes another credential has
 * a limit of its own (credential-limits.ts).
 */
function countsAsAnonymous({ routeOptions, headers }: FastifyRequest): boolean {
  if ((routeOptions.config as { countsByAddress?: true }).countsByAddress) return true
  const { security } = (routeOptions.schema ?? {}) as { security?: readonly object[] }
  if (!security) return true
  const needsToken = security.length > 0 && security.every((scheme) => 'bearer' in scheme)
  return needsToken && !hasCredential(headers)
}

/** Endpoints that need an access token, and pages that know their user. */
function judgesCookie({ routeOptions }: FastifyRequest): boolean {
  const { security = [] } = (routeOptions.schema ?? {}) as { security?: readonly object[] }
  return security.some((scheme) => 'bearer' in scheme) || (routeOptions.config as { knowsUser?: boolean }).knowsUser === true
}

async function registerDocs(auth: FastifyInstance, config: Config): Promise<void> {
  await auth.register(swagger, openApi(config))
  await auth.register(async (docs) => {
    // over plain http a browser ignores these two, and reports each as an error of the page
    docs.addHook('onSend', async ({ raw }, reply) => {
      if (contextOf(raw).client.isSecure) return
      for (const name of ['cross-origin-opener-policy', 'origin-agent-cluster']) reply.removeHeader(name)
    })
    // without indexPrefix the page looks for its files below /docs
    await docs.register(swaggerUi, { routePrefix: '/docs', indexPrefix: config.auth.prefix, staticCSP: DOCS_POLICY })
  })
  auth.get('/openapi.json', { config: { name: 'auth.openapi' }, schema: { hide: true } }, async () => auth.swagger())
}
