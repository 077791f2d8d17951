/** Builds the proxy: the pipeline, the upstreams and the streams. */
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, HTTPMethods } from 'fastify'
import type { Authenticate } from '../identity/access/authenticate.ts'
import type { CookieAuthentication } from '../identity/access/authenticate-cookie.ts'
import { createAssertions } from '../identity/tokens/assertions.ts'
import { problem } from '../platform/lib/errors.ts'
import { createClientReader, parseNetworks } from '../platform/request/client-address.ts'
import { type Cors, createCors } from '../proxy/cors.ts'
import { createCompression } from '../proxy/forward/compression.ts'
import { createForward } from '../proxy/forward/forward.ts'
import { createHeaderRules } from '../proxy/forward/headers.ts'
import { createStreams } from '../proxy/forward/streams.ts'
import { createWebSocketBridge } from '../proxy/forward/websocket.ts'
import { createRequireHttps } from '../proxy/https-only.ts'
import { createPipeline, type Pipeline } from '../proxy/pipeline.ts'
import { createRouteLimits } from '../proxy/rate-limit.ts'
import { createIsHandshake, createReceive, PROXIED_METHODS } from '../proxy/routing/receive.ts'
import { compileRoutes } from '../proxy/routing/route-table.ts'
import { createAssertServiceWorker } from '../proxy/routing/service-worker.ts'
import type { Resolve } from '../proxy/upstream/dns.ts'
import { createUpstreams } from '../proxy/upstream/upstreams.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Platform } from './platform.ts'
import { createRootPage } from './root-page.ts'

export interface ProxyDeps {
  platform: Platform
  identity: Pick<Identity, 'keyring' | 'revocations'>
  limits: Pick<Limits, 'admission'>
  authenticate: Authenticate
  /** Null: browsers have no session cookie. */
  cookies: CookieAuthentication | null
  /** Looks up the names of upstreams; undefined: the system's resolver. */
  resolve: Resolve | undefined
  /** Methods of the gateway's own endpoint at a path; empty when there is none. */
  ownMethods(path: string): string[]
  /** Calls `log` in one of the gateway's processes only. */
  logOnce(reason: string, log: () => void): void
  isStopping(): boolean
}

export interface Proxy {
  pipeline: Pipeline
  cors: Cors
  /** Mounts the proxy for every request that none of the gateway's own endpoints serves. */
  mount(server: FastifyInstance): Promise<void>
  /** The WebSockets and event streams that are open now. */
  streamsOpen(): number
  /** Ends the open streams, which would not end by themselves. Requests in flight go on. */
  endStreams(): void
  /** Call it when no request is in flight. */
  close(): Promise<void>
}

export function createProxy({
  platform,
  identity,
  limits,
  authenticate,
  cookies,
  resolve,
  ownMethods,
  logOnce,
  isStopping,
}: ProxyDeps): Proxy {
  const { config, clock, logger, metrics, secrets } = platform
  const { keyring, revocations } = identity
  const { trustedProxies, forwardedBy, maxHeaders, maxTargetBytes } = config.server
  const table = compileRoutes(config)
  const upstreams = createUpstreams({ routes: table.routes, clock, logger, metrics, secrets, resolve })
  const streams = createStreams({ revocations, cookies, clock, metrics, maxOfOne: config.limits.streams, rules: config.streams })
  const headers = createHeaderRules(config, createAssertions({ keyring, issuer: config.tokens.issuer, clock }))
  const warnUntrusted = (network: string | null, header: string) =>
    logOnce('proxy_untrusted', () =>
      logger.warn(
        { reason: 'proxy_untrusted', network },
        `${header} is ignored, because its sender is not in server.trustedProxies: if it is your proxy, add its network; limits count all its clients as one`,
      ),
    )
  const readClient = createClientReader(parseNetworks(trustedProxies)!, parseNetworks(config.limits.exempt)!, forwardedBy, warnUntrusted)
  const cors = createCors(config)
  const pipeline = createPipeline({
    receive: createReceive({ table, readClient, maxHeaders, maxTargetBytes }),
    isHandshake: createIsHandshake(table),
    now: () => clock.now(),
    assertServiceWorker: createAssertServiceWorker(config),
    requireHttps: createRequireHttps(config),
    answerRoot: createRootPage(config),
    cors,
    authenticate,
    cookies,
    limits: createRouteLimits(config.limits, table.routes, limits.admission),
    forward: createForward({ upstreams, headers, compressionOf: createCompression({ routes: table.routes, metrics }) }),
    bridge: createWebSocketBridge({ upstreams, headers, streams }),
    streams,
    ownMethods,
    isStopping,
  })
  metrics.upstreamBreakerState.collectFrom(function* () {
    for (const [name, state] of upstreams.states()) yield [name, BREAKER_VALUES[state]]
  })
  metrics.upstreamHealthy.collectFrom(function* () {
    for (const [name, isHealthy] of upstreams.checked()) yield [name, Number(isHealthy)]
  })

  return {
    pipeline,
    cors,
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
    streamsOpen: () => streams.count(),
    endStreams: () => streams.endAll(),
    async close() {
      streams.stop()
      await upstreams.close()
    },
  }
}

const BREAKER_VALUES = { closed: 0, 'half-open': 1, open: 2 }
