/** Clients that write each operation into a history: what they sent, when, and what came back. */
import { createHash } from 'node:crypto'
import { claimsOf } from '../../support/session.ts'
import { type AskOptions, ask, type HttpAnswer, jsonOf } from '../harness/http.ts'
import type { Issued, Operation, OperationOf, Outcome } from './history.ts'

/** Tokens beside the names that the history has for them. */
export interface Held extends Issued {
  bearer: string
  refresh: string
}

export interface Person {
  id: string
  username: string
  /** Which may be the password: more than one after a change without an answer. */
  passwords: string[]
}

export interface Recorder {
  operations: Operation[]
  login(person: Person, password: string): Promise<Outcome<Held>>
  refresh(person: Person, held: Held): Promise<Outcome<Held>>
  logout(person: Person, held: Held): Promise<Outcome>
  logoutAll(person: Person, held: Held): Promise<Outcome>
  changePassword(person: Person, held: Held, from: string, to: string): Promise<Outcome<Held>>
  changeRole(kind: 'grant' | 'revoke', person: Person, role: string, adminToken: string): Promise<Outcome>
  use(person: Person, held: Held, gateway: { name: string; url: string }): Promise<Outcome>
}

const TIMEOUT_MS = 10_000
const nameOf = (token: string) => createHash('sha256').update(token).digest('hex').slice(0, 12)

export function heldOf(answer: HttpAnswer): Held {
  const { access_token: bearer, refresh_token: refresh } = jsonOf(answer)
  const { sid, jti, roles } = claimsOf(bearer)
  return { session: sid, accessToken: jti, refreshToken: nameOf(refresh), roles: roles ?? [], bearer, refresh }
}

/** @param url of the balancer */
export function createRecorder(url: string): Recorder {
  const operations: Operation[] = []

  /** 5xx and a broken connection do not say what happened. */
  async function send<T>(target: string, options: AskOptions, read: (answer: HttpAnswer) => T) {
    const invokedAt = performance.now()
    const outcome: Outcome<T> = await ask(target, { timeoutMs: TIMEOUT_MS, ...options }).then(
      (answer) => {
        if (answer.status < 300) return { kind: 'ok', value: read(answer) } as const
        if (answer.status < 500) return { kind: 'refused', code: String(jsonOf(answer).code) } as const
        return { kind: 'unknown', why: String(answer.status) } as const
      },
      (error) => ({ kind: 'unknown', why: String(error.code ?? error) }) as const,
    )
    return { invokedAt, answeredAt: performance.now(), outcome }
  }
  const nothing = () => null
  /** No token goes into the history. */
  const named = ({ session, accessToken, refreshToken, roles }: Held): Issued => ({ session, accessToken, refreshToken, roles })
  const recorded = (outcome: Outcome<Held>): Outcome<Issued> =>
    outcome.kind === 'ok' ? { kind: 'ok', value: named(outcome.value) } : outcome

  return {
    operations,
    async login({ username }, password) {
      const { outcome, ...times } = await send(`${url}/auth/login`, { body: { login: username, password } }, heldOf)
      operations.push({ kind: 'login', user: username, password, ...times, outcome: recorded(outcome) })
      return outcome
    },
    async refresh({ username }, held) {
      const { outcome, ...times } = await send(`${url}/auth/refresh`, { body: { refresh_token: held.refresh } }, heldOf)
      const { session, refreshToken: token } = held
      operations.push({ kind: 'refresh', user: username, session, token, ...times, outcome: recorded(outcome) })
      return outcome
    },
    async logout({ username }, held) {
      const { outcome, ...times } = await send(`${url}/auth/logout`, { method: 'POST', token: held.bearer }, nothing)
      operations.push({ kind: 'logout', user: username, session: held.session, ...times, outcome })
      return outcome
    },
    async logoutAll({ username }, held) {
      const { outcome, ...times } = await send(`${url}/auth/logout-all`, { method: 'POST', token: held.bearer }, nothing)
      operations.push({ kind: 'logoutAll', user: username, ...times, outcome })
      return outcome
    },
    async changePassword({ username }, held, from, to) {
      const body = { current_password: from, new_password: to }
      const { outcome, ...times } = await send(`${url}/auth/password/change`, { body, token: held.bearer }, heldOf)
      operations.push({ kind: 'passwordChange', user: username, from, to, ...times, outcome: recorded(outcome) })
      return outcome
    },
    async changeRole(kind, { id, username }, role, token) {
      const method = kind === 'grant' ? 'PUT' : 'DELETE'
      const { outcome, ...times } = await send(`${url}/auth/admin/users/${id}/roles/${role}`, { method, token }, nothing)
      operations.push({ kind, user: username, role, ...times, outcome })
      return outcome
    },
    async use({ username }, held, gateway) {
      const { outcome, ...times } = await send(`${gateway.url}/api/x`, { token: held.bearer }, nothing)
      const operation: OperationOf<'use'> = {
        kind: 'use',
        user: username,
        session: held.session,
        token: named(held),
        gateway: gateway.name,
        ...times,
        outcome,
      }
      operations.push(operation)
      return outcome
    },
  }
}
