/** Builds the proxy of one configuration: the pipeline and its routes. The servers of upstreams and the open streams belong to the process. */
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, HTTPMethods } from 'fastify'
import type { Authenticate } from '../identity/access/authenticate.ts'
import type { CookieAuthentication } from '../identity/access/authenticate-cookie.ts'
import { createAssertions } from '../identity/tokens/assertions.ts'
import type { ClientData } from '../platform/geo/client-data.ts'
import { problem } from '../platform/lib/errors.ts'
import { createClientReader, parseNetworks } from '../platform/request/client-address.ts'
import { type Cors, createCors } from '../proxy/cors.ts'
import { createAllowedFields } from '../proxy/forward/allowed-fields.ts'
import { type CompressionLoad, createCompression } from '../proxy/forward/compression.ts'
import { createForward } from '../proxy/forward/forward.ts'
import { createHeaderRules } from '../proxy/forward/headers.ts'
import type { Streams } from '../proxy/forward/streams.ts'
import type { Stalls } from '../proxy/forward/watchdog.ts'
import { createWebSocketBridge } from '../proxy/forward/websocket.ts'
import { createRequireHttps } from '../proxy/https-only.ts'
import { createPipeline, type Pipeline } from '../proxy/pipeline.ts'
import { createRouteLimits } from '../proxy/rate-limit.ts'
import { createAskedRequests } from '../proxy/routing/asked-request.ts'
import { PROXIED_METHODS } from '../proxy/routing/proxied-methods.ts'
import { createIsHandshake, createReceive } from '../proxy/routing/receive.ts'
import { compileRoutes, type RouteTable } from '../proxy/routing/route-table.ts'
import { createAssertServiceWorker } from '../proxy/routing/service-worker.ts'
import type { PreparedUpstreams, UpstreamServers } from '../proxy/upstream/upstreams.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Platform } from './platform.ts'
import { createRootPage } from './root-page.ts'

export interface ProxyDeps {
  platform: Platform
  identity: Pick<Identity, 'keyring'>
  limits: Pick<Limits, 'admission'>
  authenticate: Authenticate
  /** Null: browsers have no session cookie. */
  cookies: CookieAuthentication | null
  data: ClientData
  servers: UpstreamServers
  streams: Streams
  compressions: CompressionLoad
  stalls: Stalls
  /** Methods of the gateway's own endpoint at a path; empty when there is none. */
  ownMethods(path: string): string[]
  /** Calls `log` in one of the gateway's processes only. */
  logOnce(reason: string, log: () => void): void
  isStopping(): boolean
}

export interface Proxy {
  pipeline: Pipeline
  cors: Cors
  table: RouteTable
  /** Of the routes. Not in force yet. */
  upstreams: PreparedUpstreams
  /** Mounts the proxy for every request that none of the gateway's own endpoints serves. */
  mount(server: FastifyInstance): Promise<void>
}

/** @throws when a file that a route names cannot be used */
export function createProxy({
  platform,
  identity,
  limits,
  authenticate,
  cookies,
  data,
  servers,
  streams,
  compressions,
  stalls,
  ownMethods,
  logOnce,
  isStopping,
}: ProxyDeps): Proxy {
  const { config, clock, logger, metrics, tracing } = platform
  const { trustedProxies, forwardedBy, maxHeaders, maxTargetBytes } = config.server
  const table = compileRoutes(config, data.networksOf)
  const headers = createHeaderRules(config, createAssertions({ keyring: identity.keyring, issuer: config.tokens.issuer, clock }))
  const warnUntrusted = (network: string | null, header: string) =>
    logOnce('proxy_untrusted', () =>
      logger.warn(
        { reason: 'proxy_untrusted', network },
        `${header} is ignored, because its sender is not in server.trustedProxies: if it is your proxy, add its network; limits count all its clients as one`,
      ),
    )
  const readClient = createClientReader(parseNetworks(trustedProxies)!, parseNetworks(config.limits.exempt)!, forwardedBy, warnUntrusted)
  const cors = createCors(config, table)
  const upstreams = servers.prepare(table.routes)
  const pipeline = createPipeline({
    receive: createReceive({ table, readClient, tracing, askedRequests: createAskedRequests(config), maxHeaders, maxTargetBytes }),
    isHandshake: createIsHandshake(table),
    now: () => clock.now(),
    geo: data.geo,
    assertServiceWorker: createAssertServiceWorker(config),
    requireHttps: createRequireHttps(config),
    answerRoot: createRootPage(config),
    cors,
    authenticate,
    cookies,
    limits: createRouteLimits(config.limits, table.routes, limits.admission),
    allowedFields: config.forwardAuth ? createAllowedFields(config, config.forwardAuth.dialect) : null,
    forward: createForward({
      upstreams,
      headers,
      compressionOf: createCompression({ routes: table.routes, metrics, load: compressions }),
      stalls,
    }),
    bridge: createWebSocketBridge({ upstreams, headers, streams }),
    streams,
    ownMethods,
    isStopping,
  })

  return {
    pipeline,
    cors,
    table,
    upstreams,
    /**
     * One `/*`, mounted by @fastify/http-proxy, with our stages as the hook before it. Requests leave in the hook. The package's own
     * handler is never entered: it re-parses URLs and retries on 503, and its WebSocket answers 101 before the upstream does.
     */
    mount: async (server) =>
      void (await server.register(async (proxied) => {
        proxied.addHook('onRequest', pipeline.run)
        await proxied.register(httpProxy, {
          upstream: '',
          httpMethods: [...PROXIED_METHODS] as HTTPMethods[],
          replyOptions: {
            getUpstream: (_request: unknown): string => {
              throw problem('internal', { cause: 'a request passed the pipeline without being forwarded' })
            },
          },
        })
      })),
  }
}
