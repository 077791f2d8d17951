/**
 * Judges a history: the sessions, roles and passwords must be linearizable, and access tokens must follow revocations within their bound.
 * A broken promise is a sentence; a history without any is good.
 */
import type { BlindTime, Bounds, History, Issued, Operation, OperationOf } from './history.ts'
import { linearize, type Verdict } from './linearizability.ts'
import { type PasswordOperation, passwordModel, type RoleOperation, roleModel, sessionModel } from './models.ts'

export interface Judgement {
  broken: string[]
  counts: {
    operations: number
    unknown: number
    sessions: number
    endedSessions: number
    uses: number
    refusedUses: number
    latestAcceptanceMs: number
  }
}

type Ok<O extends Operation> = O & { outcome: { kind: 'ok' } }
const isOk = <O extends Operation>(operation: O): operation is Ok<O> => operation.outcome.kind === 'ok'
const isOf =
  <K extends Operation['kind']>(...kinds: K[]) =>
  (operation: Operation): operation is OperationOf<K> =>
    (kinds as string[]).includes(operation.kind)

const issues = isOf('login', 'refresh', 'passwordChange')
const changesRole = isOf('grant', 'revoke')
const issuedBy = (operation: OperationOf<'login' | 'refresh' | 'passwordChange'>): Issued | null =>
  operation.outcome.kind === 'ok' ? operation.outcome.value : null

export function judge({ operations, blindTimes }: History, bounds: Bounds, firstPasswords: ReadonlyMap<string, string>): Judgement {
  const sessions = sessionsOf(operations)
  const uses = operations.filter(isOf('use'))
  const byUser = Map.groupBy(operations, ({ user }) => user)
  const judgedUses = [...byUser.values()].map((own) => judgeUses(own, sessions, blindTimes, bounds))
  const broken = [
    ...twoSuccessors(operations),
    ...[...sessions.values()].flatMap((session) => judgeSession(session, byUser.get(session.user)!, operations, bounds)),
    ...[...byUser].flatMap(([user, own]) => [...judgeRoles(user, own), ...judgePassword(user, own, firstPasswords.get(user))]),
    ...judgedUses.flatMap((judged) => judged.broken),
  ]
  return {
    broken,
    counts: {
      operations: operations.length,
      unknown: operations.filter(({ outcome }) => outcome.kind === 'unknown').length,
      sessions: sessions.size,
      endedSessions: [...sessions.values()].filter((session) => endings(session, byUser.get(session.user)!).some(isOk)).length,
      uses: uses.length,
      refusedUses: uses.filter(({ outcome }) => outcome.kind === 'refused').length,
      latestAcceptanceMs: Math.max(0, ...judgedUses.map(({ latestMs }) => latestMs)),
    },
  }
}

interface Session {
  id: string
  user: string
  /** Its first refresh token. */
  first: string
  /** When the login that opened it was sent and answered. */
  invokedAt: number
  answeredAt: number
}

/** Sessions whose opening was answered. */
function sessionsOf(operations: readonly Operation[]): Map<string, Session> {
  const sessions = new Map<string, Session>()
  for (const operation of operations.filter(isOf('login', 'passwordChange'))) {
    const issued = issuedBy(operation)
    if (!issued) continue
    const { user, invokedAt, answeredAt } = operation
    sessions.set(issued.session, { id: issued.session, user, first: issued.refreshToken, invokedAt, answeredAt })
  }
  return sessions
}

function successors(operations: readonly Operation[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  for (const operation of operations.filter(isOf('refresh'))) {
    const issued = issuedBy(operation)
    if (!issued) continue
    const known = found.get(operation.token) ?? new Set()
    found.set(operation.token, known.add(issued.refreshToken))
  }
  return found
}

const twoSuccessors = (operations: readonly Operation[]): string[] =>
  [...successors(operations)].flatMap(([token, { size }]) => (size > 1 ? [`refresh token ${token} has ${size} successors`] : []))

/** What may have ended a session: its opening was sent before the answer of the operation, or the operation has no answer. */
function endings(session: Session, own: readonly Operation[]): OperationOf<'logout' | 'logoutAll' | 'passwordChange'>[] {
  return own.filter(isOf('logout', 'logoutAll', 'passwordChange')).filter((operation) => {
    if (operation.kind === 'logout') return operation.session === session.id
    // the session that a change of password opens is its own
    if (operation.kind === 'passwordChange' && issuedBy(operation)?.session === session.id) return false
    return operation.outcome.kind === 'unknown' || session.invokedAt < operation.answeredAt
  })
}

function judgeSession(session: Session, own: readonly Operation[], all: readonly Operation[], { graceMs }: Bounds): string[] {
  const refreshes = own.filter(isOf('refresh')).filter((operation) => operation.session === session.id)
  const known = successors(refreshes)
  const successorOf = (token: string) => [...(known.get(token) ?? [])][0] ?? `successor of ${token}`
  // an ending of all sessions that overlaps the opening may have come before the session: then it ended nothing of it
  const certain = endings(session, own).map((operation) => {
    const mayBeBefore = operation.kind !== 'logout' && operation.invokedAt < session.answeredAt
    return mayBeBefore ? { ...operation, outcome: { kind: 'unknown' as const, why: 'overlaps the opening' } } : operation
  })
  const verdict = linearize([...refreshes, ...certain], sessionModel(session.first, successorOf, graceMs))
  return explain(`session ${session.id} of ${session.user}`, verdict, all)
}

function judgeRoles(user: string, own: readonly Operation[]): string[] {
  const roles = new Set(own.filter(changesRole).map(({ role }) => role))
  return [...roles].flatMap((role) => {
    const concerned = own.filter((o): o is RoleOperation => (changesRole(o) && o.role === role) || (issues(o) && o.outcome.kind === 'ok'))
    return explain(`role ${role} of ${user}`, linearize(concerned, roleModel(role)), own)
  })
}

function judgePassword(user: string, own: readonly Operation[], first: string | undefined): string[] {
  if (first === undefined) return []
  const ends = own.filter(isOf('logoutAll', 'passwordChange'))
  // a login fails when all sessions end while the password is compared: the account has changed since it was read
  const isDisturbed = (login: Operation) =>
    isRefusedAs(login, 'invalid_credentials') &&
    ends.some(
      (end) => end !== login && end.invokedAt < login.answeredAt && (end.outcome.kind === 'unknown' || end.answeredAt > login.invokedAt),
    )
  const concerned: PasswordOperation[] = own.filter(isOf('login', 'passwordChange')).filter((o) => !isDisturbed(o))
  return explain(`password of ${user}`, linearize(concerned, passwordModel(first)), own)
}

interface JudgedUses {
  broken: string[]
  /** The latest use that was accepted after the answer to a revocation of its token, in milliseconds after it. */
  latestMs: number
}

/**
 * No answer of a gateway may accept a token after its revocation has been in force for the bound, and none may refuse a token as revoked
 * that nothing in the history can have revoked.
 */
function judgeUses(
  own: readonly Operation[],
  sessions: ReadonlyMap<string, Session>,
  blind: readonly BlindTime[],
  bounds: Bounds,
): JudgedUses {
  let latestMs = 0
  const issuedAt = new Map<string, { invokedAt: number; answeredAt: number }>()
  for (const operation of own.filter(issues)) {
    const issued = issuedBy(operation)
    if (issued) issuedAt.set(issued.accessToken, operation)
  }
  const roleChanges = own.filter(changesRole)
  const broken = own.filter(isOf('use')).flatMap((use) => {
    const { token, gateway, invokedAt, answeredAt, outcome } = use
    const session = sessions.get(use.session)
    const issued = issuedAt.get(token.accessToken)
    if (!session || !issued || outcome.kind === 'unknown') return []
    const here = `access token ${token.accessToken} of ${use.user} at ${gateway}`
    const revocations = [
      ...endings(session, own).filter((ending) => ending.kind === 'logout' || ending.invokedAt > session.answeredAt),
      ...roleChanges.filter((o) => o.kind === 'revoke' && token.roles.includes(o.role) && o.invokedAt > issued.answeredAt),
    ]
    if (outcome.kind === 'ok') {
      return revocations.filter(isOk).flatMap((revocation) => {
        const inForceAt = deadline(revocation.answeredAt, gateway, blind, bounds.revocationMs)
        latestMs = Math.max(latestMs, invokedAt - (inForceAt - bounds.revocationMs))
        return invokedAt > inForceAt
          ? [`${here} was accepted ${Math.round(invokedAt - revocation.answeredAt)} ms after the answer to its ${revocation.kind}`]
          : []
      })
    }
    if (outcome.code === 'token_expired')
      return answeredAt - issued.invokedAt < bounds.accessTtlMs ? [`${here} was refused as expired before its time`] : []
    if (outcome.code === 'forbidden' || outcome.code === 'rate_limited') return []
    if (outcome.code !== 'token_revoked') return [`${here} was refused: ${outcome.code}`]
    const causes = [
      ...[...endings(session, own), ...roleChanges].filter((o) => o.outcome.kind !== 'refused'),
      // a family ends by a reuse
      ...own.filter(isOf('refresh')).filter((o) => o.session === session.id && isRefusedAs(o, 'refresh_reused')),
    ].filter((cause) => cause.invokedAt < answeredAt && (cause.outcome.kind === 'unknown' || cause.answeredAt > issued.invokedAt))
    return causes.length === 0 ? [`${here} was refused as revoked, and nothing in the history revoked it`] : []
  })
  return { broken, latestMs }
}

const isRefusedAs = ({ outcome }: Operation, code: string): boolean => outcome.kind === 'refused' && outcome.code === code

/** When a revocation must be in force at a gateway: times in which the gateway could not read the database do not count. */
export function deadline(answeredAt: number, gateway: string, blindTimes: readonly BlindTime[], boundMs: number): number {
  const concerned = blindTimes.filter((time) => time.gateway === undefined || time.gateway === gateway).sort((a, b) => a.from - b.from)
  let start = answeredAt
  for (const { from, to } of concerned) if (from <= start + boundMs && to > start) start = to
  return start + boundMs
}

function explain<Op extends Operation>(what: string, verdict: Verdict<Op>, all: readonly Operation[]): string[] {
  if (verdict.isLinearizable) return []
  const start = Math.min(...all.map(({ invokedAt }) => invokedAt))
  const at = ({ invokedAt, answeredAt }: Operation) => `${Math.round(invokedAt - start)}–${Math.round(answeredAt - start)} ms`
  const answer = ({ outcome }: Operation) => (outcome.kind === 'refused' ? outcome.code : outcome.kind)
  const stuck = verdict.stuck.map((o) => `${o.kind} (${at(o)}) answered ${answer(o)}`).join('; ')
  return [`${what}: no order explains the history. After ${verdict.after} operations, none of these can follow: ${stuck}`]
}
