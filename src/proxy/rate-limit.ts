/** The limits of routes and of the gateway's own endpoints, and the keys by which each of them counts. */
import type { CountCaller } from '../identity/access/require-auth.ts'
import type { Config, PolicyConfig } from '../platform/config/schema.ts'
import { problem } from '../platform/lib/errors.ts'
import type { Admission, Admit } from '../platform/limits/admission.ts'
import { type Decision, limitHeaders } from '../platform/limits/limiter.ts'
import type { RequestContext } from '../platform/request/request-context.ts'
import type { Authenticated, Exchange, Routed } from './routing/exchange.ts'
import type { Route } from './routing/route-table.ts'

export interface RouteLimits {
  /**
   * Counts by address, before the principal is known. @throws rate_limited
   * @param hasCredential false: there will be no principal, so that the request counts as anonymous at once
   */
  client(exchange: Routed, hasCredential: boolean): Promise<void> | void
  /** Counts as anonymous what `client` took for a request with a credential. @throws rate_limited */
  anonymous(exchange: Routed): Promise<void> | void
  /** Counts by address under `limits.default`: for an answer of the gateway that belongs to no route. @throws rate_limited */
  address(exchange: Exchange): Promise<void> | void
  /** Counts by principal, once it is known. @throws rate_limited */
  principal(exchange: Authenticated): Promise<void> | void
}

interface RoutePolicies {
  client: Admit[]
  anonymous: Admit[]
  /** For requests without a credential, which have no principal: both of them. */
  withoutCredential: Admit[]
  principal: Admit[]
  apiKey: Admit[]
}

/** Binds policies by name. */
const createCompile =
  (config: Config['limits'], admission: Admission) =>
  ({ limits, onRedisDown }: Pick<Route, 'limits' | 'onRedisDown'>): RoutePolicies => {
    const keyed = (...keys: PolicyConfig['key'][]) =>
      limits
        .map((name) => ({ name, scope: 'route' as const, ...config.policies[name]! }))
        .filter((policy) => keys.includes(policy.key))
        .map((policy) => admission.bind(policy, onRedisDown))
    return {
      client: keyed('client'),
      anonymous: keyed('anonymous'),
      withoutCredential: keyed('client', 'anonymous'),
      principal: keyed('principal'),
      apiKey: keyed('apiKey'),
    }
  }

/** Limits of the gateway's own endpoints: `limits.default`, with the counts of the routes under the same policies. */
export interface OwnLimits {
  /** Counts a request without a credential by its address. @throws rate_limited */
  anonymous(context: RequestContext): Promise<void> | void
  /** Counts by principal, once it is known. @throws rate_limited */
  caller: CountCaller
}

export function createOwnLimits(config: Config['limits'], admission: Admission): OwnLimits {
  const { client, withoutCredential, principal, apiKey } = createCompile(
    config,
    admission,
  )({ limits: config.default, onRedisDown: 'local' })
  // the context of each request is an exchange: `receive` makes it
  const count = (decisions: (Decision | Promise<Decision>)[], context: RequestContext) => admit(decisions, context as Exchange)
  return {
    anonymous: (context) => (context.client.isExempt ? undefined : count(ask(withoutCredential, context.client.limitKey), context)),
    caller({ kind, id, sessionId }, context) {
      const decisions = context.client.isExempt ? [] : ask(client, context.client.limitKey)
      decisions.push(...ask(principal, id))
      if (kind === 'apiKey') decisions.push(...ask(apiKey, sessionId))
      return count(decisions, context)
    },
  }
}

export function createRouteLimits(config: Config['limits'], routes: readonly Route[], admission: Admission): RouteLimits {
  const compile = createCompile(config, admission)
  const withoutRoute = compile({ limits: config.default, onRedisDown: 'local' })
  const policies = new Map(routes.map((route) => [route, compile(route)]))

  return {
    client(exchange, hasCredential) {
      if (exchange.client.isExempt) return
      const { client, withoutCredential } = policies.get(exchange.route)!
      return admit(ask(hasCredential ? client : withoutCredential, exchange.client.limitKey), exchange)
    },
    anonymous(exchange) {
      if (exchange.client.isExempt) return
      return admit(ask(policies.get(exchange.route)!.anonymous, exchange.client.limitKey), exchange)
    },
    address(exchange) {
      if (exchange.client.isExempt) return
      return admit(ask(withoutRoute.withoutCredential, exchange.client.limitKey), exchange)
    },
    principal(exchange) {
      const { principal, route } = exchange
      if (!principal) return
      const { principal: byOwner, apiKey } = policies.get(route)!
      const decisions = ask(byOwner, principal.id)
      // an API key counts against its own limit and its owner's
      if (principal.kind === 'apiKey') decisions.push(...ask(apiKey, principal.sessionId))
      return admit(decisions, exchange)
    },
  }
}

/** How each policy counts, such as `600/min per user`. */
export const describeLimits = ({ policies }: Config['limits'], names: readonly string[]): string =>
  names
    .map((name) => policies[name]!)
    .map(({ limit, windowSeconds, key }) => `${limit}/${WINDOWS[windowSeconds] ?? `${windowSeconds}s`} per ${COUNTED[key]}`)
    .join(', ') || 'nobody'

const WINDOWS: Record<number, string> = { 1: 's', 60: 'min', 3600: 'h', 86400: 'day' }
const COUNTED: Record<PolicyConfig['key'], string> = {
  client: 'address',
  principal: 'user or machine',
  apiKey: 'API key',
  anonymous: 'address when anonymous',
}

/** Every policy is asked, also after a refusal: each of them counts the request. */
const ask = (admits: readonly Admit[], key: string) => admits.map((decide) => decide(key))

function admit(decisions: (Decision | Promise<Decision>)[], exchange: Exchange): Promise<void> | void {
  if (decisions.length === 0) return
  if (areAllMade(decisions)) return assertAllowed(decisions, exchange)
  return Promise.all(decisions).then((made) => assertAllowed(made, exchange))
}

const areAllMade = (decisions: (Decision | Promise<Decision>)[]): decisions is Decision[] => decisions.every((d) => !(d instanceof Promise))

function assertAllowed(decisions: readonly Decision[], exchange: Exchange): void {
  exchange.decisions.push(...decisions)
  const refused = decisions.find((d) => !d.isAllowed)
  if (!refused) return
  const headers = limitHeaders(exchange.decisions)
  if (refused.tier === 'closed')
    throw problem('unavailable', { cause: `Redis is away and policy ${refused.policy} refuses requests until it is back`, headers })
  throw problem('rate_limited', { cause: `policy ${refused.policy}`, headers })
}
