/** The routes compared with each other: routes that are never reached, ways around a stricter route, and overlaps. */
import type { Config } from '../../platform/config/schema.ts'
import { parseNetworks } from '../../platform/request/client-address.ts'
import { createCompareAccess } from './compare-access.ts'
import { laxerCountries } from './country-rule.ts'
import type { Finding, Findings } from './finding.ts'
import { compileRoutes, isUnder, OWN_EXACT, type Route, type RouteTable, rewritePath } from './route-table.ts'

export function checkRoutes(config: Config, { problems, warnings, notes }: Findings): void {
  const table = compileRoutes(config)
  const { laxer } = createCompareAccess(config)
  const at = (route: Route) => ['routes', table.routes.indexOf(route), 'match']
  for (const [i, route] of table.routes.entries()) {
    const folded = route.path.toLowerCase()
    const prefix = config.auth.prefix.toLowerCase()
    if (folded === prefix || folded.startsWith(`${prefix}/`) || OWN_EXACT.includes(folded)) {
      warnings.push({
        rule: 'route-unreachable',
        path: [...at(route), 'path'],
        message: `${route.path} is a path of the gateway itself, which takes precedence: this route is never reached`,
        hint: 'choose another path, or another auth.prefix',
      })
    }
    for (const other of table.routes.slice(0, i)) {
      const sameSpelling =
        other.path === route.path || (!other.caseSensitive && !route.caseSensitive && other.path.toLowerCase() === folded)
      if (sameSpelling && other.host === route.host && overlap(route.methods, other.methods)) {
        problems.push({
          path: at(route),
          message: `the same host, path and method as route ${other.name}`,
          hint: 'change or remove one of the two',
        })
      }
    }
    if (route.websocket && route.methods !== null && !route.methods.has('GET'))
      warnings.push({
        rule: 'route-unreachable',
        path: ['routes', i, 'websocket'],
        message: 'has no effect: the handshake of a WebSocket is a GET, which this route does not take',
        hint: 'add GET to match.methods, or remove websocket',
      })
    for (const [j, strict] of table.routes.entries()) {
      if (i === j || !sharesUpstream(route, strict) || !overlap(route.methods, strict.methods)) continue
      const way = backDoor(table, route, strict)
      if (way === null) continue
      if (route.access.rank < strict.access.rank) {
        problems.push({
          rule: 'route-laxer',
          path: at(route),
          message: `${way} reaches what route ${strict.name} protects (${strict.access.label}) with ${route.access.label} access`,
          hint: 'require the same access on both routes',
        })
        continue
      }
      const who = laxer(route.access, strict.access)
      const isWider = admitsMoreNetworks(config.routes[i]!.networks, config.routes[j]!.networks)
      const fromWhere = laxerCountries(route.countries, strict.countries)
      if (who !== null)
        warnings.push({
          rule: 'route-laxer',
          path: at(route),
          message: `${way} reaches what route ${strict.name} protects: ${who} passes here, and not there (${strict.access.label})`,
          hint: 'require the same access on both routes',
        })
      if (isWider)
        warnings.push({
          rule: 'route-laxer-network',
          path: ['routes', i, 'networks'],
          message: `${way} reaches what route ${strict.name} protects by networks, from networks that it does not admit`,
          hint: 'set the same networks on both routes',
        })
      if (fromWhere !== null)
        warnings.push({
          rule: 'route-laxer-country',
          path: ['routes', i, 'access'],
          message: `${way} reaches what route ${strict.name} protects by countries: ${fromWhere} pass here, and not there (${strict.countries!.label})`,
          hint: 'set the same access.countries on both routes',
        })
    }
  }
  for (const [i, route] of table.routes.entries()) notes.push(...overlapsOf(table.routes, route, i))
}

const sharesUpstream = (a: Route, b: Route) => a.servers.some(({ origin }) => b.servers.some((server) => server.origin === origin))

type NetworkLists = Config['routes'][number]['networks']

/** Compared address block by address block, and file by file, as they are written, so that it may err on the careful side. */
function admitsMoreNetworks(lax: NetworkLists, strict: NetworkLists): boolean {
  const deniesLess = !areWithin(strict.deny, lax.deny) || (strict.denyFile !== undefined && strict.denyFile !== lax.denyFile)
  if (deniesLess || !hasAllowed(strict)) return deniesLess
  const isSameFile = lax.allowFile === undefined || lax.allowFile === strict.allowFile
  return !hasAllowed(lax) || !isSameFile || !areWithin(lax.allow, strict.allow)
}

const hasAllowed = ({ allow, allowFile }: NetworkLists): boolean => allow.length > 0 || allowFile !== undefined

const areWithin = (inner: readonly string[], outer: readonly string[]): boolean =>
  inner.every((text) => outer.includes(text) || contains(outer, text))

/** One of the networks covers this one: its first address is in it, and it is not longer. */
function contains(networks: readonly string[], text: string): boolean {
  const [address = '', bits] = text.split('/')
  return networks.some(
    (network) => Number(network.split('/')[1] ?? 128) <= Number(bits ?? 128) && (parseNetworks([network])?.has(address) ?? false),
  )
}

/** What other routes take away from a route, or leave to nobody. */
function overlapsOf(routes: readonly Route[], route: Route, i: number): Finding[] {
  const path = ['routes', i, 'match']
  const inside = (other: Route, outer: Route) =>
    other !== outer && isUnder(fold(other.path), fold(outer.path)) && fold(other.path) !== fold(outer.path)
  const shorter = routes.filter((other) => other.host === route.host && inside(route, other))
  const next = shorter.reduce<Route | null>((best, other) => (best === null || other.path.length > best.path.length ? other : best), null)
  const found: Finding[] = []
  if (next !== null && overlap(route.methods, next.methods))
    found.push({
      rule: 'route-overlap',
      path,
      message: `takes the requests below ${route.path}; route ${next.name} (${next.path}) takes the rest`,
    })
  const atPath = routes.filter((other) => other.host === route.host && fold(other.path) === fold(route.path))
  const isFirst = atPath[0] === route
  if (next !== null && isFirst && atPath.every(({ methods }) => methods !== null)) {
    const taken = new Set(atPath.flatMap(({ methods }) => [...methods!]))
    const left = next.methods === null ? null : [...next.methods].filter((method) => !taken.has(method))
    if (left === null || left.length > 0)
      found.push({
        rule: 'route-methods',
        path,
        message: `${left === null ? 'every other method' : left.join(' and ')} below ${route.path} gets 405: route ${next.name} (${next.path}) is not tried there`,
        hint: `add the methods to a route with the path ${route.path} if clients need them`,
      })
  }
  if (route.host === null)
    for (const hosted of routes)
      if (hosted.host !== null && (fold(route.path) === fold(hosted.path) || inside(route, hosted)))
        found.push({
          rule: 'route-host-first',
          path,
          message: `is not used for the host ${hosted.host}: its route ${hosted.name} (${hosted.path}) goes first, also where its path is shorter`,
          hint: `add a route with the path ${route.path} for that host if clients need it`,
        })
  return found
}

const fold = (path: string): string => path.toLowerCase().replace(/\/+$/, '')

const overlap = (a: Route['methods'], b: Route['methods']) => a === null || b === null || [...a].some((m) => b.has(m))

/** A client path by which the laxer route reaches an upstream path that the stricter route guards, or null. */
function backDoor(table: RouteTable, lax: Route, strict: Route): string | null {
  const [open, guarded] = [rewritePath(lax, lax.path), rewritePath(strict, strict.path)].map((p) => p.replace(/\/$/, '').toLowerCase()) as [
    string,
    string,
  ]
  const under = (path: string, prefix: string) => path === prefix || path.startsWith(`${prefix}/`)
  const shared = under(guarded, open) ? guarded : under(open, guarded) ? open : null
  if (shared === null) return null
  const through = (route: Route, base: string) => `${route.path === '/' ? '' : route.path}${shared.slice(base.length)}` || '/'
  const reaches = (route: Route, path: string) => table.find(route.host ?? '', path.toLowerCase())?.routes.includes(route) ?? false
  const [byLax, byStrict] = [through(lax, open), through(strict, guarded)]
  return reaches(lax, byLax) && reaches(strict, byStrict) ? `${lax.host ?? ''}${byLax}` : null
}
