import { problem } from '../../platform/lib/errors.ts'
import type { Received } from './exchange.ts'
import { FORM_TEXTS, type Route, routesFor } from './route-table.ts'

/** @param candidates the routes of one path */
export const findRoute = (candidates: readonly Route[], method: string): Route | undefined =>
  candidates.find((r) => r.methods === null || r.methods.has(method))

/**
 * Chooses by method among the routes of the longest matching path. Routes of a shorter path are never tried.
 * @param ownMethods methods of the gateway's own endpoint at a path; empty when there is none
 * @throws route_not_found, method_not_allowed, target_ambiguous
 */
export function matchRoute({ node, target }: Received, method: string, ownMethods: (path: string) => string[]): Route {
  if (node?.own) {
    // Fastify serves the gateway's own endpoints; here the method is another, or there is no endpoint
    const allow = ownMethods(target.path)
    throw allow.length ? problem('method_not_allowed', { headers: { allow: allow.join(', ') } }) : problem('route_not_found')
  }
  if (!node) throw problem('route_not_found')
  const candidates = routesFor(node, target.path)
  if (!candidates.length) throw problem('route_not_found', { cause: 'the path differs in case' })
  const route = findRoute(candidates, method)
  if (!route) {
    const allow = [...new Set(candidates.flatMap((r) => [...r.methods!]))].sort().join(', ')
    throw problem('method_not_allowed', { headers: { allow } })
  }
  const refused = target.forms & ~route.allowedForms
  if (refused !== 0) {
    const forms = FORM_TEXTS.filter(([bit]) => (refused & bit) !== 0).map(([, text]) => text)
    throw problem('target_ambiguous', {
      detail: `The request target is refused: ${forms.join(' and ')} in the path, which this route does not allow.`,
    })
  }
  return route
}
