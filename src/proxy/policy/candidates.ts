/** Why one route takes a request, and the other routes that cover its path do not. */
import type { Received } from '../routing/exchange.ts'
import { findRoute } from '../routing/match-route.ts'
import { isUnder, type Route, type RouteTable, routesFor } from '../routing/route-table.ts'

/**
 * `own`: the path belongs to the gateway. `host`: the route is of another host. `hostFirst`: a route of the host goes before routes of any host.
 * `shorter`: another route covers more of the path. `case`: the path differs in case, or another route has its exact case. `method`: another
 * method. `later`: a route before it takes the method.
 */
export type CandidateResult = 'matched' | 'own' | 'host' | 'hostFirst' | 'shorter' | 'case' | 'method' | 'later'

export interface Candidate {
  route: Route
  result: CandidateResult
}

/** In the order in which routes are matched: routes of the host, then routes of any host, the longest path first; other hosts come last. */
export function candidatesOf(table: RouteTable, { node, target, host }: Received, method: string): Candidate[] {
  const atNode = node === null || node.own ? [] : routesFor(node, target.path)
  const matched = findRoute(atNode, method)
  const resultOf = (route: Route): CandidateResult => {
    if (route === matched) return 'matched'
    if (node?.own) return 'own'
    if (route.host !== null && route.host !== host) return 'host'
    if (!node?.routes.includes(route)) return route.host === null && node?.routes[0]?.host ? 'hostFirst' : 'shorter'
    if (!atNode.includes(route)) return 'case'
    return route.methods !== null && !route.methods.has(method) ? 'method' : 'later'
  }
  const rank = ({ host: of }: Route) => (of === host ? 0 : of === null ? 1 : 2)
  return table.routes
    .filter((route) => covers(route, target.folded))
    .map((route) => ({ route, result: resultOf(route) }))
    .sort((a, b) => rank(a.route) - rank(b.route) || b.route.path.length - a.route.path.length)
}

/** Compared without case, as the route table does. */
const covers = ({ path }: Route, folded: string): boolean => isUnder(folded, path === '/' ? '' : path.toLowerCase())

/** The host that a path without a host means: that of the route that covers most of it, where routes of the own host cover less. */
export function hostOfPath(table: RouteTable, path: string, ownHost: string): string {
  const folded = path.replace(/[?#].*$/s, '').toLowerCase()
  const covering = table.routes.filter((route) => covers(route, folded))
  const most = Math.max(0, ...covering.map((route) => route.path.length))
  const longest = covering.filter((route) => route.path.length === most)
  const isOwn = ({ host }: Route) => host === null || host === ownHost
  return longest.length === 0 || longest.some(isOwn) ? ownHost : longest[0]!.host!
}
