import { ANONYMOUS, type Caller, type Callers, type CallerUser } from './callers.ts'
import type { Explain } from './explain.ts'
import { type ExplanationView, explanationView } from './explanation-view.ts'
import type { LocatedCase, PolicyExpectation, PolicyPrincipal } from './policy-cases.ts'

export interface CaseResult {
  name: string
  where: string
  request: string
  caller: string
  /** What was decided, such as `refuse 401 token_missing`. */
  decision: string
  /** What differs from what is expected; empty: the case has passed. */
  faults: string[]
}

export interface RunCasesDeps {
  explain: Explain
  callers: Callers
  /** By the login of the case. */
  users: ReadonlyMap<string, CallerUser>
  /** Seconds since the epoch. */
  nowSeconds: number
}

export function createRunCase({ explain, callers, users, nowSeconds }: RunCasesDeps): (one: LocatedCase) => CaseResult {
  function callerOf(principal: PolicyPrincipal | 'anonymous' | undefined): Caller {
    if (principal === undefined || principal === 'anonymous') return ANONYMOUS
    const { role, roles = [], user, secondFactor, authAgeSeconds = 0 } = principal
    const authenticatedAt = nowSeconds - authAgeSeconds
    if (user === undefined) {
      const granted = role === undefined ? roles : [role]
      return callers.of({ roles: granted, hasFactor: secondFactor ?? false, authenticatedAt })
    }
    return callers.ofUser(users.get(user)!, { hasFactor: secondFactor, authenticatedAt })
  }

  return ({ title, where, method = 'GET', url, principal, from: address = null, websocket: isWebSocket = false, expect }) => {
    const question = { method, url, caller: callerOf(principal), address, isWebSocket }
    const view = explanationView(explain(question), question)
    return {
      name: title,
      where,
      request: `${method} ${url}`,
      caller: callerText(principal),
      decision: decisionText(view),
      faults: faultsOf(view, expect),
    }
  }
}

/** `allow`, `refuse 401 token_missing`, `answer 308` */
const decisionText = ({ decision, status, code, depends }: ExplanationView): string =>
  [depends ? 'depends' : decision, status, code].filter((part) => part !== null).join(' ')

const callerText = (principal: PolicyPrincipal | 'anonymous' | undefined): string => {
  if (principal === undefined || principal === 'anonymous') return 'anonymous'
  const { role, roles = [], user, secondFactor } = principal
  const who = user === undefined ? `role ${role ?? roles.join(' and ')}` : `user ${user}`
  return secondFactor ? `${who}, second factor` : who
}

function faultsOf(view: ExplanationView, { decision, route, upstream, upstreamPath, limits }: PolicyExpectation): string[] {
  const faults: string[] = []
  const differs = (what: string, wanted: unknown, got: unknown) =>
    faults.push(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`)
  if (view.depends) faults.push('decision: it depends on the address of the client; give the case an address in from')
  else if (![view.decision, view.code, view.status].includes(decision as string))
    faults.push(`decision: expected ${decision}, got ${decisionText(view)}. ${view.rule.text}`)
  if (route !== undefined && route !== view.route) differs('route', route, view.route)
  const { effects } = view
  const origins = effects?.upstreams.map(({ origin }) => origin) ?? []
  if (upstream !== undefined && !origins.includes(upstream)) differs('upstream', upstream, origins)
  if (upstreamPath !== undefined && upstreamPath !== effects?.upstream_path)
    differs('upstreamPath', upstreamPath, effects?.upstream_path ?? null)
  const counted = effects?.limits.map(({ name }) => name) ?? []
  if (limits !== undefined && [...limits].sort().join() !== [...counted].sort().join()) differs('limits', limits, counted)
  return faults
}
