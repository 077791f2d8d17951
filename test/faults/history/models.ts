/** What one session, one role and one password may do, one operation after the other. */
import type { OperationOf } from './history.ts'
import type { Model } from './linearizability.ts'

export type SessionOperation = OperationOf<'refresh' | 'logout' | 'logoutAll' | 'passwordChange'>

interface SessionState {
  isAlive: boolean
  /** The token that a refresh exchanges. */
  current: string
  /** Its parent, which a retry may show again, and the earliest time of its exchange. */
  parent: string | null
  exchangedAt: number
}

/** A token has at most one successor, so an unseen successor can be named after its parent. */
export type SuccessorOf = (token: string) => string

/** A session is a family of refresh tokens, of which one is alive (docs/tokens-and-sessions.md). */
export const sessionModel = (first: string, successorOf: SuccessorOf, graceMs: number): Model<SessionState, SessionOperation> => ({
  initial: { isAlive: true, current: first, parent: null, exchangedAt: 0 },
  key: ({ isAlive, current }) => (isAlive ? current : ''),
  step(state, operation) {
    const ended = { ...state, isAlive: false }
    const { outcome } = operation
    if (operation.kind !== 'refresh') return outcome.kind === 'refused' ? [state] : [ended]
    const { token, invokedAt, answeredAt } = operation
    const exchanged = { isAlive: true, current: successorOf(token), parent: token, exchangedAt: invokedAt }
    const isCurrent = state.isAlive && token === state.current
    if (outcome.kind === 'unknown') return isCurrent ? [exchanged] : []
    if (outcome.kind === 'ok') {
      if (!state.isAlive) return []
      if (isCurrent) return [exchanged]
      return token === state.parent && (outcome.value as { refreshToken: string }).refreshToken === state.current ? [state] : []
    }
    if (outcome.code === 'refresh_invalid') return state.isAlive ? [] : [state]
    // a retry that comes too late counts as theft
    const isLate = token === state.parent && answeredAt - state.exchangedAt > graceMs
    if (outcome.code === 'refresh_reused') return state.isAlive && isLate ? [ended] : []
    return NO_EFFECT.includes(outcome.code) ? [state] : []
  },
})

/** Refusals before the token is read. */
const NO_EFFECT = ['rate_limited']

/** A value that operations set, and that others see. */
interface Register<T> {
  value: T
}

/** The issue of a token shows whether the user has the role. */
export type RoleOperation = OperationOf<'grant' | 'revoke' | 'login' | 'refresh' | 'passwordChange'>

export const roleModel = (role: string): Model<Register<boolean>, RoleOperation> => ({
  initial: { value: false },
  key: ({ value }) => String(value),
  step(state, { kind, outcome }) {
    if (kind === 'grant' || kind === 'revoke') return outcome.kind === 'refused' ? [state] : [{ value: kind === 'grant' }]
    if (outcome.kind !== 'ok') return [state]
    return (outcome.value as { roles: readonly string[] }).roles.includes(role) === state.value ? [state] : []
  },
})

export type PasswordOperation = OperationOf<'login' | 'passwordChange'>

export const passwordModel = (first: string): Model<Register<string>, PasswordOperation> => ({
  initial: { value: first },
  key: ({ value }) => value,
  step(state, operation) {
    const { outcome } = operation
    const isRight = (operation.kind === 'login' ? operation.password : operation.from) === state.value
    if (outcome.kind === 'refused') return outcome.code === 'invalid_credentials' && isRight ? [] : [state]
    if (!isRight) return []
    return [operation.kind === 'login' ? state : { value: operation.to }]
  },
})
