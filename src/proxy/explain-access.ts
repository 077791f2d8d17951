/**
 * Why a request passes, or is refused: asks the stages of the pipeline about a request that no client sent. The route table and the access
 * policies are those of real requests. Nothing is counted, and nothing is forwarded.
 */
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { authorize } from '../identity/access/access-policy.ts'
import type { Principal } from '../identity/access/principal.ts'
import { createRoles } from '../identity/users/roles.ts'
import type { Config, PolicyConfig } from '../platform/config/schema.ts'
import { type ErrorCode, Problem, problem } from '../platform/lib/errors.ts'
import { addressKey, type Client, parseNetworks, plainAddress } from '../platform/request/client-address.ts'
import { assertCanonical, assertNetwork, assertUpgrade } from './pipeline.ts'
import { describeLimits } from './rate-limit.ts'
import type { Exchange, Received, Routed } from './routing/exchange.ts'
import { matchRoute } from './routing/match-route.ts'
import { createIsHandshake, createReceive } from './routing/receive.ts'
import { compileRoutes, type Route } from './routing/route-table.ts'

export interface Question {
  method: string
  /** An absolute URL, or a path below `server.publicUrl`. It is judged as it was written: nothing is repaired. */
  url: string
  caller: Caller
  /** The address of the client. Null: the networks of a route are not judged. */
  address: string | null
  isWebSocket: boolean
}

export interface Caller {
  /** Null: the request has no credential. */
  principal: Principal | null
  /** Why the credential itself is refused. Null: it is good. */
  refusal: ErrorCode | null
}

export const ANONYMOUS: Caller = { principal: null, refusal: null }

/**
 * `open`: the stage decides by facts that are not part of the question. `unused`: the stage has nothing to decide about this request.
 * `unreached`: an earlier stage has refused or answered.
 */
export type StageResult = 'passed' | 'refused' | 'answered' | 'open' | 'unused' | 'unreached'

/** Why a stage has its result. Texts for people have these codes in their keys. */
export type StageReason =
  | 'canonical'
  | 'refused'
  | 'https'
  | 'https-redirect'
  | 'root-page'
  | 'route'
  | 'own'
  | 'networks-any'
  | 'networks-allowed'
  | 'networks-open'
  | 'websocket'
  | 'no-limits'
  | 'exempt'
  | 'counted'
  | 'anonymous'
  | 'known'
  | 'public'
  | 'permitted'
  | 'forwarded'
  | 'unused'
  | 'unreached'

export interface StageFinding {
  /** As in the pipeline. */
  stage: string
  result: StageResult
  reason: StageReason
  /** For the text of the reason. */
  values: Record<string, string>
}

export interface Explanation {
  /** `own`: an endpoint of the gateway itself decides. `answered`: the gateway answers, and no upstream is asked. */
  decision: 'admitted' | 'refused' | 'answered' | 'own'
  route: Route | null
  /** What the client would get. */
  refusal: Problem | null
  stages: readonly StageFinding[]
}

export type ExplainAccess = (question: Question) => Explanation

export interface ExplainAccessDeps {
  config: Config
  /** Milliseconds since the epoch. */
  now: () => number
}

/** What a stage answers: its finding, without its name. */
type Finding = Omit<StageFinding, 'stage'>

const finding = (result: StageResult, reason: StageReason, values: Record<string, string> = {}): Finding => ({ result, reason, values })
const unused = finding('unused', 'unused')

/** A URL that cannot be read is refused by the first stage, as a request is. */
export function createExplainAccess({ config, now }: ExplainAccessDeps): ExplainAccess {
  const table = compileRoutes(config)
  const isHandshake = createIsHandshake(table)
  const exempt = parseNetworks(config.limits.exempt)!
  const { httpsOnly, maxHeaders, maxTargetBytes, publicUrl } = config.server

  const clientOf = (address: string | null, isSecure: boolean): Client => {
    const plain = plainAddress(address ?? '')
    return {
      address: plain,
      limitKey: addressKey(plain),
      peer: plain,
      viaTrustedProxy: false,
      isProxy: false,
      isReadable: true,
      isSecure,
      forwardedFor: '',
      isExempt: exempt.has(plain),
    }
  }

  function countedBy(route: Route, keys: readonly PolicyConfig['key'][]): Finding {
    const names = route.limits.filter((name) => keys.includes(config.limits.policies[name]!.key))
    return names.length === 0
      ? finding('unused', 'no-limits')
      : finding('open', 'counted', { limits: describeLimits(config.limits, names) })
  }

  return ({ method, url, caller, address, isWebSocket }) => {
    const { isSecure, host, target } = readUrl(url, publicUrl)
    const request = requestOf(method, target, host, isWebSocket)
    const client = clientOf(address, isSecure)
    const exchange: Exchange = createReceive({ table, readClient: () => client, maxHeaders, maxTargetBytes })(request)
    exchange.isUpgrade = isWebSocket && isHandshake(request)
    const { principal, refusal } = caller
    const hasCredential = principal !== null || refusal !== null
    const received = exchange as Received
    const routed = exchange as Routed

    /** In the order of the pipeline. */
    const stages: [stage: string, ask: () => Finding][] = [
      [
        'canonical',
        () => {
          assertCanonical(exchange)
          return finding('passed', 'canonical')
        },
      ],
      ['serverOptions', () => unused],
      [
        'httpsOnly',
        () => {
          if (!httpsOnly) return unused
          const isOpen = isSecure || received.target.path === '/health'
          return isOpen ? finding('passed', 'https') : finding('answered', 'https-redirect')
        },
      ],
      ['preflight', () => unused],
      [
        'rootPage',
        () => {
          const isRoot = received.node === null && received.target.path === '/' && !exchange.isUpgrade
          return isRoot && (method === 'GET' || method === 'HEAD') ? finding('answered', 'root-page') : unused
        },
      ],
      [
        'route',
        () => {
          if (received.node?.own) return finding('answered', 'own')
          exchange.route = matchRoute(received, method, () => [])
          return finding('passed', 'route', { route: exchange.route.name })
        },
      ],
      [
        'network',
        () => {
          if (!routed.route.networks) return finding('passed', 'networks-any')
          if (address === null) return finding('open', 'networks-open')
          assertNetwork(routed)
          return finding('passed', 'networks-allowed', { address })
        },
      ],
      ['serviceWorker', () => unused],
      [
        'upgrade',
        () => {
          assertUpgrade(routed, { request: { raw: request } } as Parameters<typeof assertUpgrade>[1])
          return exchange.isUpgrade ? finding('passed', 'websocket') : unused
        },
      ],
      [
        'limitClient',
        () => {
          if (client.isExempt) return finding('passed', 'exempt')
          return countedBy(routed.route, hasCredential ? ['client'] : ['client', 'anonymous'])
        },
      ],
      ['passPreflight', () => unused],
      [
        'authenticate',
        () => {
          if (refusal !== null) throw problem(refusal)
          return principal === null
            ? finding('passed', 'anonymous')
            : finding('passed', 'known', { roles: [...principal.roles].join(', ') })
        },
      ],
      [
        'authorize',
        () => {
          const { access } = routed.route
          authorize(access, principal, now)
          return access.rank === 0 ? finding('passed', 'public') : finding('passed', 'permitted', { access: access.label })
        },
      ],
      [
        'limitPrincipal',
        () => {
          if (principal === null) return unused
          return countedBy(routed.route, principal.kind === 'apiKey' ? ['principal', 'apiKey'] : ['principal'])
        },
      ],
      ['forward', () => finding('passed', 'forwarded', { upstreams: routed.route.servers.map(({ origin }) => origin).join(', ') || '-' })],
    ]
    return conclude(stages, exchange)
  }
}

/** Asks the stages in their order, up to the first that refuses or answers. */
function conclude(stages: readonly [stage: string, ask: () => Finding][], exchange: Exchange): Explanation {
  let decision: Explanation['decision'] | null = null
  let refusal: Problem | null = null
  const found = stages.map(([stage, ask]): StageFinding => {
    if (decision !== null) return { stage, ...finding('unreached', 'unreached') }
    try {
      const answer = ask()
      if (answer.result === 'answered') decision = answer.reason === 'own' ? 'own' : 'answered'
      return { stage, ...answer }
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      decision = 'refused'
      refusal = error
      const access = stage === 'authorize' ? exchange.route!.access.label : ''
      return { stage, ...finding('refused', 'refused', { code: error.code, detail: error.detail, access }) }
    }
  })
  return { decision: decision ?? 'admitted', route: exchange.route, refusal, stages: found }
}

const URL_FORM = /^(https?):\/\/([^/?#]*)([^#]*)/i

/** Splits a URL without repairing it: `new URL` would remove the dot segments that the gateway refuses. */
function readUrl(url: string, publicUrl: string): { isSecure: boolean; host: string; target: string } {
  const [, scheme, host, rest] = URL_FORM.exec(url) ?? []
  if (scheme === undefined) {
    const { protocol, host: publicHost } = new URL(publicUrl)
    // a browser never sends the fragment
    return { isSecure: protocol === 'https:', host: publicHost, target: url.replace(/#.*$/s, '') }
  }
  // RFC 9110 §4.2.3: an empty path is /
  const target = rest === '' ? '/' : rest!.startsWith('?') ? `/${rest}` : rest!
  return { isSecure: scheme.toLowerCase() === 'https', host: host!, target }
}

/** RFC 6455 §4.1 */
const HANDSHAKE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': `${'A'.repeat(22)}==`,
}

/** A request as Node would have parsed it. Its socket is never connected. */
function requestOf(method: string, target: string, host: string, isWebSocket: boolean): IncomingMessage {
  const request = new IncomingMessage(new Socket())
  const headers: Record<string, string> = { host, ...(isWebSocket && HANDSHAKE) }
  return Object.assign(request, {
    method,
    url: target,
    httpVersion: '1.1',
    headers,
    rawHeaders: Object.entries(headers).flat(),
  })
}

export interface CallerFacts {
  /** The roles that were granted. Inherited roles and scopes are added. */
  roles: readonly string[]
  kind?: Principal['kind']
  /** The user logged in with a second factor. */
  hasFactor: boolean
  mustChangePassword?: boolean
  /** Seconds since the epoch. */
  authenticatedAt: number
}

/** Makes the principal that a login of such a user would give. */
export function createCallers(config: Config): (facts: CallerFacts) => Caller {
  const grantsOf = createRoles(config.auth.roles)
  const rolesWithFactor = config.auth.mfa.requiredForRoles
  return ({ roles: granted, kind = 'user', hasFactor, mustChangePassword = false, authenticatedAt }) => {
    const { roles, scopes } = grantsOf(granted)
    const principal: Principal = {
      kind,
      id: '',
      sessionId: '',
      email: null,
      roles: new Set(roles),
      scopes: new Set(scopes),
      cookieId: null,
      signingKid: null,
      epoch: 0,
      expiresAt: Number.POSITIVE_INFINITY,
      mustChangePassword,
      hasFactor,
      owesFactor: !hasFactor && rolesWithFactor.some((role) => roles.includes(role)),
      authenticatedAt,
      identityHeaders: [],
    }
    return { principal, refusal: null }
  }
}
