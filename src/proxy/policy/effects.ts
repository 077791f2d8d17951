/** What a route does with a request that it takes: limits, headers, deadlines, upstream. Computed by the code that real requests pass. */
import type { IncomingMessage } from 'node:http'
import type { Config, PolicyConfig } from '../../platform/config/schema.ts'
import { createHeaderRules } from '../forward/headers.ts'
import { describeLimits } from '../rate-limit.ts'
import type { Authenticated } from '../routing/exchange.ts'
import { type Route, rewritePath } from '../routing/route-table.ts'
import { authorityOf } from '../upstream/upstreams.ts'

export interface CountedLimit extends PolicyConfig {
  name: string
  /** For people, such as `600/min per user or machine`. */
  text: string
}

export type HeaderField = readonly [name: string, value: string]

export interface Effects {
  /** Limits that would count this request. */
  limits: readonly CountedLimit[]
  onRedisDown: Route['onRedisDown']
  /** Empty: another proxy forwards the request. */
  upstreams: readonly { origin: string; weight: number }[]
  balance: Route['balance']
  /** As the upstream receives it, with the query. Another proxy sends what its client sent. */
  upstreamPath: string
  /** The headers that the gateway adds or keeps, for a request without further headers of its own. Values of the configuration are hidden. */
  requestHeaders: readonly HeaderField[]
  /** Names that the configuration removes from requests, and from responses. */
  removed: { request: readonly string[]; response: readonly string[] }
  responseHeaders: readonly HeaderField[]
  /** Milliseconds; `totalMs` 0 is no limit. Null: another proxy forwards the request, and decides. */
  deadlines: Route['timeouts'] | null
  /** Null: as above. */
  maxBodyBytes: number | null
  cors: { decidedBy: 'gateway' | 'upstream' }
  /** Null: browsers have no session cookie. */
  cookie: Route['cookieRule'] | null
}

export interface Asked {
  /** Null: unknown. */
  address: string | null
  /** Also a credential that is refused: such a request does not count as anonymous. */
  hasCredential: boolean
}

export type EffectsOf = (request: IncomingMessage, exchange: Authenticated, asked: Asked) => Effects

/** In place of values that may be credentials, and of values that differ in each request. */
const HIDDEN = '***'
const DRAWN = '<new>'
const DRAWN_FIELDS = new Set(['x-request-id', 'traceparent'])

export function createEffects(config: Config): EffectsOf {
  // no key is asked for: an assertion is signed for real requests only
  const headers = createHeaderRules(config, { of: () => '<signed>' })
  const { policies } = config.limits

  function limitsOf({ route, client, principal }: Authenticated, hasCredential: boolean): CountedLimit[] {
    const keys: PolicyConfig['key'][] = [
      ...(client.isExempt ? [] : (['client', ...(hasCredential ? [] : ['anonymous' as const])] as const)),
      ...(principal === null ? [] : (['principal'] as const)),
      ...(principal?.kind === 'apiKey' ? (['apiKey'] as const) : []),
    ]
    return route.limits
      .map((name) => ({ name, ...policies[name]!, text: describeLimits(config.limits, [name]) }))
      .filter(({ key }) => keys.includes(key))
  }

  function requestHeadersOf(request: IncomingMessage, exchange: Authenticated, address: string | null): HeaderField[] {
    const server = exchange.route.servers[0]
    // another proxy forwards the request: it gets the identity headers, and keeps the others as they are
    if (!server) return pairs(exchange.principal?.identityHeaders ?? [])
    const upstream = { authority: authorityOf(exchange.route, server), origin: server.origin }
    // no promise: the assertion is a constant here
    const fields = headers.outgoing(request, exchange, upstream) as string[]
    const set = new Set(exchange.route.requestHeaders.set.filter((_, i) => i % 2 === 0))
    return pairs(fields).map(([name, value]): HeaderField => {
      if (set.has(name)) return [name, HIDDEN]
      if (name === 'x-forwarded-for' && address === null) return [name, '<address>']
      return [name, DRAWN_FIELDS.has(name) ? DRAWN : value]
    })
  }

  return (request, exchange, { address, hasCredential }) => {
    const { route, target } = exchange
    const isForwarded = route.servers.length > 0
    const removedOf = ({ dropped, set }: Route['requestHeaders']) => [...dropped].filter((name) => !set.includes(name))
    return {
      limits: limitsOf(exchange, hasCredential),
      onRedisDown: route.onRedisDown,
      upstreams: route.servers.map(({ origin, weight }) => ({ origin, weight })),
      balance: route.balance,
      upstreamPath: (isForwarded ? rewritePath(route, target.path) : target.path) + target.query,
      requestHeaders: requestHeadersOf(request, exchange, address),
      removed: isForwarded
        ? { request: removedOf(route.requestHeaders), response: removedOf(route.responseHeaders) }
        : { request: [], response: [] },
      responseHeaders: isForwarded ? pairs(route.responseHeaders.set) : [],
      deadlines: isForwarded ? route.timeouts : null,
      maxBodyBytes: isForwarded ? route.maxBodyBytes : null,
      cors: { decidedBy: route.cors.isOwn ? 'gateway' : 'upstream' },
      cookie: config.auth.browser.enabled ? route.cookieRule : null,
    }
  }
}

const pairs = (fields: readonly string[]): HeaderField[] =>
  fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]!] as const] : []))
