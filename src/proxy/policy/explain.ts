/**
 * Why a request passes, or is refused: asks the stages of the pipeline about a request that no client sent. The route table, the access
 * policies and the headers are those of real requests. Nothing is counted, nothing is forwarded, and no login is touched.
 */
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { authorize } from '../../identity/access/access-policy.ts'
import type { Config, PolicyConfig } from '../../platform/config/schema.ts'
import { type ClientData, readClientData } from '../../platform/geo/client-data.ts'
import { detailOf, Problem, problem } from '../../platform/lib/errors.ts'
import { addressKey, type Client, parseNetworks, plainAddress } from '../../platform/request/client-address.ts'
import { assertCanonical, assertCountry, assertNetwork, assertUpgrade } from '../pipeline.ts'
import { describeLimits } from '../rate-limit.ts'
import type { Authenticated, Exchange, Received, Routed } from '../routing/exchange.ts'
import { matchRoute } from '../routing/match-route.ts'
import { createIsHandshake, createReceive } from '../routing/receive.ts'
import { compileRoutes, type Route } from '../routing/route-table.ts'
import type { Caller } from './callers.ts'
import { type Candidate, candidatesOf, hostOfPath } from './candidates.ts'
import { createEffects, type Effects } from './effects.ts'

export interface Question {
  method: string
  /** An absolute URL, or a path: its host is that of its route, else of `server.publicUrl`. It is judged as it was written: nothing is repaired. */
  url: string
  caller: Caller
  /** The address of the client. Null: the networks and countries of a route are not judged. */
  address: string | null
  isWebSocket: boolean
}

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
  | 'countries-any'
  | 'countries-allowed'
  | 'countries-unknown'
  | 'countries-open'
  | 'websocket'
  | 'no-limits'
  | 'exempt'
  | 'counted'
  | 'anonymous'
  | 'known'
  | 'known-without-role'
  | 'public'
  | 'permitted'
  | 'forwarded'
  | 'proxy-forwards'
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

/** `own`: an endpoint of the gateway itself decides. `answered`: the gateway answers, and no upstream is asked. */
export type PolicyDecision = 'admitted' | 'refused' | 'answered' | 'own'

export interface Explanation {
  decision: PolicyDecision
  /** A stage that passed depends on facts that the question does not give, such as the address of the client. Limits do not count. */
  isOpen: boolean
  /** The stage that refused or answered; of an admitted request the stage that looked at the access policy. */
  decidedBy: string
  asked: { method: string; isSecure: boolean; host: string; target: string }
  route: Route | null
  /** Every route that covers the path, in the order in which they are matched. Empty when the form of the request is refused. */
  candidates: readonly Candidate[]
  /** What the route does with a request that it takes. Null without a route. */
  effects: Effects | null
  /** What the client would get. */
  refusal: Problem | null
  stages: readonly StageFinding[]
}

export type Explain = (question: Question) => Explanation

export interface ExplainDeps {
  config: Config
  /** Default: the files of the configuration as they are now. */
  data?: ClientData
  /** Milliseconds since the epoch. */
  now: () => number
}

/** What a stage answers: its finding, without its name. */
type Finding = Omit<StageFinding, 'stage'>

const finding = (result: StageResult, reason: StageReason, values: Record<string, string> = {}): Finding => ({ result, reason, values })
const unused = finding('unused', 'unused')

/** A URL that cannot be read is refused by the first stage, as a request is. */
export function createExplain({ config, now, data = readClientData(config) }: ExplainDeps): Explain {
  const table = compileRoutes(config, data.networksOf)
  const isHandshake = createIsHandshake(table)
  const exempt = parseNetworks(config.limits.exempt)!
  const { httpsOnly, maxHeaders, maxTargetBytes } = config.server
  const effectsOf = createEffects(config)
  const publicUrl = new URL(config.server.publicUrl)
  const hostOf = (path: string): string => {
    const host = hostOfPath(table, path, publicUrl.hostname)
    return host === publicUrl.hostname ? publicUrl.host : host
  }

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
    const { isSecure, host, target } = readUrl(url, publicUrl, hostOf)
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
          // only another proxy asks about such a route, and it says what its client sent
          if (exchange.route.servers.length === 0) {
            exchange.asked = { target, isAllowed: false, admitsAll2xx: true }
            exchange.isUpgrade = isWebSocket
          }
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
      [
        'country',
        () => {
          if (!routed.route.countries) return finding('passed', 'countries-any')
          if (address === null) return finding('open', 'countries-open')
          assertCountry(routed, data.geo)
          const country = data.geo.countryOf(client)
          return country === null ? finding('passed', 'countries-unknown') : finding('passed', 'countries-allowed', { country })
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
          if (principal === null) return finding('passed', 'anonymous')
          const roles = [...principal.roles].join(', ')
          return roles === '' ? finding('passed', 'known-without-role') : finding('passed', 'known', { roles })
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
      [
        'forward',
        () => {
          const upstreams = routed.route.servers.map(({ origin }) => origin).join(', ')
          return upstreams === '' ? finding('passed', 'proxy-forwards') : finding('passed', 'forwarded', { upstreams })
        },
      ],
    ]
    /** What the route wanted of the stage that refuses. */
    const ruleOf = (stage: string): Record<string, string> => {
      if (stage === 'authorize') return { access: routed.route.access.label }
      if (stage === 'network') return { network: address! }
      if (stage !== 'country') return {}
      const country = data.geo.countryOf(client)
      return { countries: routed.route.countries!.label, ...(country !== null && { country }) }
    }
    const conclusion = conclude(stages, exchange, { ruleOf, authPrefix: config.auth.prefix })
    const { route } = exchange
    // the route is known also where a later stage refuses
    const authenticated: Authenticated | null = route && Object.assign(exchange as Received, { route, principal })
    return {
      ...conclusion,
      asked: { method, isSecure, host, target },
      candidates: exchange.refusal === null ? candidatesOf(table, received, method) : [],
      effects: authenticated && effectsOf(request, authenticated, { address, hasCredential }),
    }
  }
}

type Conclusion = Pick<Explanation, 'decision' | 'isOpen' | 'decidedBy' | 'route' | 'refusal' | 'stages'>

/** Asks the stages in their order, up to the first that refuses or answers. */
function conclude(
  stages: readonly [stage: string, ask: () => Finding][],
  exchange: Exchange,
  { ruleOf, authPrefix }: { ruleOf: (stage: string) => Record<string, string>; authPrefix: string },
): Conclusion {
  let decision: PolicyDecision | null = null
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
      return { stage, ...finding('refused', 'refused', { code: error.code, detail: detailOf(error, authPrefix), ...ruleOf(stage) }) }
    }
  })
  return {
    decision: decision ?? 'admitted',
    isOpen: found.some(({ result, reason }) => result === 'open' && reason !== 'counted'),
    decidedBy: found.find(({ result }) => result === 'refused' || result === 'answered')?.stage ?? 'authorize',
    route: exchange.route,
    refusal,
    stages: found,
  }
}

const URL_FORM = /^(https?):\/\/([^/?#]*)([^#]*)/i

/** Splits a URL without repairing it: `new URL` would remove the dot segments that the gateway refuses. */
function readUrl(url: string, { protocol }: URL, hostOf: (path: string) => string): { isSecure: boolean; host: string; target: string } {
  const [, scheme, host, rest] = URL_FORM.exec(url) ?? []
  if (scheme === undefined) {
    // a browser never sends the fragment
    const target = url.replace(/#.*$/s, '')
    return { isSecure: protocol === 'https:', host: hostOf(target), target }
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
