/** Rules about forward-auth: which proxy asks, and what a route without an upstream may set. */
import { Value } from 'typebox/value'
import { type Config, type RouteConfig, RouteSchema } from '../../platform/config/schema.ts'
import { modeOf } from './cors-rule.ts'
import type { Finding } from './finding.ts'

/** They are about what is sent to an upstream, or comes from it. */
const UPSTREAM_KEYS = [
  'rewrite',
  'timeouts',
  'connections',
  'breaker',
  'retry',
  'balance',
  'sticky',
  'health',
  'body',
  'preserveHost',
  'compress',
] as const
const HEADER_KEYS = ['request', 'response', 'passReserved', 'assertion'] as const

export function checkForwardAuth(config: Config, problems: Finding[], warnings: Finding[]): void {
  const { forwardAuth, server, routes } = config
  if (forwardAuth && !server.trustedProxies.length)
    problems.push({
      path: ['server', 'trustedProxies'],
      message: 'is empty, so that no proxy may ask: forwardAuth refuses every request',
      hint: 'name the addresses from which the proxy connects, such as 127.0.0.1/32',
    })
  if (forwardAuth && server.forwardedBy === 'forwarded' && ['traefik', 'caddy'].includes(forwardAuth.dialect))
    problems.push({
      path: ['server', 'forwardedBy'],
      message: `must be x-forwarded for forwardAuth.dialect ${forwardAuth.dialect}, which sets X-Forwarded-For`,
      hint: 'remove it: x-forwarded is the default',
    })
  routes.forEach((route, i) => {
    const at = ['routes', i]
    if (!route.upstream.length && !route.forwardAuth)
      problems.push({
        path: [...at, 'upstream'],
        message: 'is missing',
        hint: 'name a server, such as [http://localhost:3000]; or set forwardAuth: true if another proxy forwards the requests',
      })
    if (!route.forwardAuth) return
    if (!forwardAuth)
      problems.push({
        path: [...at, 'forwardAuth'],
        message: 'needs the section forwardAuth, which says what kind of proxy asks',
        hint: 'add forwardAuth: { dialect: nginx }, or traefik, caddy, haproxy, envoy',
      })
    if (modeFor(config, route) === 'own')
      warnings.push({
        path: [...at, 'cors'],
        message: 'the gateway adds no CORS headers to answers that another proxy forwards',
        hint: 'set cors.mode: upstream for this route',
      })
    if (!route.upstream.length) checkUnused(route, at, warnings)
  })
}

const modeFor = (config: Config, { cors }: RouteConfig) => cors.mode ?? modeOf(config)

/** Settings that differ from their defaults, and change nothing without an upstream. */
function checkUnused(route: RouteConfig, at: Finding['path'], warnings: Finding[]): void {
  const defaults = Value.Default(RouteSchema, {}) as Partial<RouteConfig>
  const differs = (a: unknown, b: unknown) => JSON.stringify(a) !== JSON.stringify(b)
  const unused = [
    ...UPSTREAM_KEYS.filter((key) => differs(route[key], defaults[key])).map((key) => [key]),
    ...HEADER_KEYS.filter((key) => differs(route.headers[key], defaults.headers?.[key])).map((key) => ['headers', key]),
  ]
  for (const path of unused)
    warnings.push({ path: [...at, ...path], message: 'has no effect without an upstream: the other proxy forwards the requests' })
}
