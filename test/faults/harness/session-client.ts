/**
 * A user's client. It keeps the last tokens that it received whole. After a broken connection it sends the same refresh token once more.
 * It must never be logged out by this.
 */
import { randomBytes } from 'node:crypto'
import type http from 'node:http'
import { ask, BrokenExchange, type HttpAnswer, jsonOf } from './http.ts'

export type RefreshEnd =
  /** A pair arrived, at the first attempt or at the second. */
  | { kind: 'rotated'; attempts: 1 | 2; ms: number }
  /** 401: the user has to log in again. */
  | { kind: 'refused'; code: string; attempts: 1 | 2 }
  /** 503 or 429: the token stays, and the client tries again later. */
  | { kind: 'unavailable'; status: number; retryAfter: string | null }
  /** Any other status. */
  | { kind: 'failed'; status: number }
  /** Both attempts broke. */
  | { kind: 'broken'; code: string }

export interface SessionClient {
  username: string
  password: string
  refreshToken(): string
  accessToken(): string
  /** True after a 401: the client has no session. */
  isLoggedOut(): boolean
  isBusy(): boolean
  refresh(): Promise<RefreshEnd>
  login(): Promise<HttpAnswer>
  logout(): Promise<HttpAnswer>
  /** A proxied or own request with the access token. */
  get(path: string): Promise<HttpAnswer>
}

/** Which successors the clients received for each refresh token. */
export interface Successors {
  received(parent: string, child: string): void
  /** Tokens for which clients received two different successors. */
  doubles(): string[]
}

export function createSuccessors(): Successors {
  const children = new Map<string, Set<string>>()
  return {
    received(parent, child) {
      const known = children.get(parent)
      if (known) known.add(child)
      else children.set(parent, new Set([child]))
    },
    doubles: () => [...children].filter(([, set]) => set.size > 1).map(([parent]) => parent),
  }
}

export interface ClientOptions {
  agent?: http.Agent
  successors?: Successors
  timeoutMs?: number
}

/** Registers a user. @param url of a gateway or a balancer; a function when it changes */
export async function newSessionClient(url: string | (() => string), options: ClientOptions = {}): Promise<SessionClient> {
  const { agent, successors, timeoutMs = 15_000 } = options
  const base = () => (typeof url === 'string' ? url : url())
  const more = { ...(agent && { agent }), timeoutMs }
  const username = `u${randomBytes(8).toString('hex')}`
  const password = `plain zebra ${randomBytes(6).toString('hex')}`
  const registered = await ask(`${base()}/auth/register`, { body: { username, email: `${username}@example.com`, password }, ...more })
  if (registered.status !== 201) throw new Error(`register answered ${registered.status} ${registered.text.slice(0, 300)}`)
  let accessToken = ''
  let refreshToken = ''
  let isLoggedOut = false
  let isBusy = false
  const keep = (answer: HttpAnswer) => {
    const body = jsonOf(answer)
    accessToken = body.access_token
    refreshToken = body.refresh_token
    isLoggedOut = false
  }
  keep(registered)

  async function attempt(number: 1 | 2, agentOfAttempt: { agent?: http.Agent }): Promise<RefreshEnd> {
    const presented = refreshToken
    const answer = await ask(`${base()}/auth/refresh`, { body: { refresh_token: presented }, timeoutMs, ...agentOfAttempt })
    if (answer.status === 200) {
      keep(answer)
      successors?.received(presented, refreshToken)
      return { kind: 'rotated', attempts: number, ms: answer.ms }
    }
    if (answer.status === 401) {
      isLoggedOut = true
      return { kind: 'refused', code: jsonOf(answer).code, attempts: number }
    }
    if (answer.status === 503 || answer.status === 429)
      return { kind: 'unavailable', status: answer.status, retryAfter: answer.headers['retry-after'] ?? null }
    return { kind: 'failed', status: answer.status }
  }

  return {
    username,
    password,
    refreshToken: () => refreshToken,
    accessToken: () => accessToken,
    isLoggedOut: () => isLoggedOut,
    isBusy: () => isBusy,
    async refresh() {
      isBusy = true
      try {
        return await attempt(1, agent ? { agent } : {}).catch((error) => {
          if (!(error instanceof BrokenExchange)) throw error
          // on a new connection: the old connections may all be broken
          return attempt(2, {})
        })
      } catch (error) {
        if (!(error instanceof BrokenExchange)) throw error
        return { kind: 'broken', code: error.code }
      } finally {
        isBusy = false
      }
    },
    async login() {
      isBusy = true
      try {
        const answer = await ask(`${base()}/auth/login`, { body: { login: username, password }, ...more })
        if (answer.status === 200) keep(answer)
        return answer
      } finally {
        isBusy = false
      }
    },
    logout: () => ask(`${base()}/auth/logout`, { method: 'POST', token: accessToken, ...more }),
    get: (path) => ask(base() + path, { token: accessToken, ...more }),
  }
}

/** Registers `count` users, a few at a time. */
export async function newSessionClients(
  count: number,
  url: string | (() => string),
  options: ClientOptions = {},
): Promise<SessionClient[]> {
  const clients: SessionClient[] = []
  const AT_ONCE = 4
  const worker = async () => {
    while (clients.length < count) {
      const slot = clients.push(null as unknown as SessionClient) - 1
      clients[slot] = await newSessionClient(url, options)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return clients
}
