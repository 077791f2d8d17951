/** The limits of a route, and who is counted for each of them. */
import type { Config, PolicyConfig } from '../config/schema.ts'
import { problem } from '../errors.ts'
import { addressKey } from '../http/networks.ts'
import { type Limit, type Limiter, limitHeaders } from '../limits/limiter.ts'
import type { Exchange } from './exchange.ts'
import type { Principal } from './principal.ts'
import type { Route } from './routes.ts'

export interface RouteLimits {
  /** By address, before anything is known of the caller. @throws rate_limited */
  client(exchange: Exchange, route: Route, hasCredential: boolean): Promise<void> | void
  /** By caller, once it is known. @throws rate_limited */
  principal(exchange: Exchange, route: Route, principal: Principal | null): Promise<void> | void
}

interface RoutePolicies {
  client: Limit[]
  anonymous: Limit[]
  principal: Limit[]
}

export function createRouteLimits(config: Config['limits'], limiter: Limiter): RouteLimits {
  const known = new WeakMap<Route, RoutePolicies>()
  const policiesOf = (route: Route): RoutePolicies => {
    const found = known.get(route) ?? compile(route)
    known.set(route, found)
    return found
  }
  const compile = (route: Route): RoutePolicies => {
    const keyed = (key: PolicyConfig['key']) =>
      route.limits.map((name) => ({ name, scope: 'route' as const, ...config.policies[name]! })).filter((p) => p.key === key)
    // no principal of this version is an API key, so a policy keyed by one counts nobody
    return { client: keyed('client'), anonymous: keyed('anonymous'), principal: keyed('principal') }
  }

  async function consume(limits: readonly Limit[], key: string, exchange: Exchange, route: Route): Promise<void> {
    const decisions = await Promise.all(limits.map((limit) => limiter.consume(limit, key, { kind: route.onRedisDown })))
    exchange.decisions.push(...decisions)
    const refused = decisions.find((d) => !d.isAllowed)
    if (!refused) return
    const headers = limitHeaders(exchange.decisions)
    if (refused.tier === 'closed')
      throw problem('unavailable', { cause: `Redis is away and policy ${refused.policy} is closed then`, headers })
    throw problem('rate_limited', { cause: `policy ${refused.policy}`, headers })
  }

  return {
    client(exchange, route, hasCredential) {
      if (exchange.client.isExempt) return
      const { client, anonymous } = policiesOf(route)
      // without a credential nobody will be found: the address answers for the request
      const limits = hasCredential || anonymous.length === 0 ? client : [...client, ...anonymous]
      if (limits.length) return consume(limits, addressKey(exchange.client.address), exchange, route)
    },
    principal(exchange, route, principal) {
      const limits = policiesOf(route).principal
      if (principal && limits.length) return consume(limits, principal.id, exchange, route)
    },
  }
}
