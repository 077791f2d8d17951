/** Sessions by cookie for tests without a browser: the headers that a browser would send from a page of the gateway itself. */
import type { IncomingMessage } from 'node:http'
import { type CookieAuthentication, createCookieAuthentication } from '../../src/identity/access/authenticate-cookie.ts'
import { createCrossSite } from '../../src/identity/access/cross-site.ts'
import type { Principal } from '../../src/identity/access/principal.ts'
import { createSessionCookies } from '../../src/identity/access/session-cookie.ts'
import { type CookiePurpose, createCookieValues } from '../../src/identity/sessions/cookie-values.ts'
import { createRoles } from '../../src/identity/users/roles.ts'
import { DatabaseUnavailable } from '../../src/platform/db/unavailable.ts'
import { problem } from '../../src/platform/lib/errors.ts'
import type { Client } from '../../src/platform/request/client-address.ts'
import { type Answer, type CallOptions, call, type TestUser } from './client.ts'
import { type Gateway, stillClock, type TestClock } from './gateway.ts'

/** Settings of a gateway with sessions by cookie. */
export const BROWSER = { auth: { browser: { enabled: true } } }

/** The name on plain http of this machine. */
export const COOKIE = 'portcullis-dev'

const CONSOLE_COOKIE = 'portcullis-console-dev'

/** What a browser adds to a request of a page of the same origin. */
export const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }

/** @param cookie the value alone */
export const byCookie = (gateway: { url: string }, path: string, cookie: string, { headers = {}, ...options }: CallOptions = {}) =>
  call(gateway, path, { ...options, headers: { ...SAME_ORIGIN, cookie: `${COOKIE}=${cookie}`, ...headers } })

/** The value of the session cookie that an answer sets. Null when it sets none. */
export function cookieFrom({ headers }: Pick<Answer, 'headers'>, name = COOKIE): string | null {
  const set = headers.getSetCookie().find((cookie) => cookie.startsWith(`${name}=`))
  return set === undefined ? null : set.slice(name.length + 1, set.indexOf(';'))
}

/** Logs in by cookie. @returns the value of the cookie */
export async function cookieLogin(
  gateway: { url: string },
  { username, password }: Pick<TestUser, 'username' | 'password'>,
  { remember, name = COOKIE }: { remember?: boolean; name?: string } = {},
): Promise<string> {
  const body = { login: username, password, session: 'cookie', ...(remember === undefined ? {} : { remember }) }
  const answer = await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN })
  const value = cookieFrom(answer, name)
  if (answer.status !== 200 || !value) throw new Error(`login answered ${answer.status}: ${JSON.stringify(answer.body)}`)
  return value
}

export interface Worker extends CookieAuthentication {
  clock: TestClock
  /** How often the worker has read the database. */
  reads(): number
  /** Failures that the budget of an address has counted. */
  failures(): number
  /** From now on the worker cannot read the database. */
  loseDatabase(): void
  /** What the worker says to a GET of a page of the same origin. */
  see(cookie: string, options?: { isPublic?: boolean; headers?: Record<string, string> }): Promise<Principal | null>
}

/** What another worker of this gateway remembers of cookies. Its clock stands still, its revocations are those of the gateway. */
export function anotherWorker(
  gateway: Pick<Gateway, 'app'>,
  { purpose = 'browser', isExhausted = false }: { purpose?: CookiePurpose; isExhausted?: boolean } = {},
): Worker {
  const { config, db, metrics, secrets } = gateway.app.platform
  const clock = stillClock()
  let reads = 0
  let failures = 0
  let isAway = false
  const crossSite = createCrossSite(config)
  const authentication = createCookieAuthentication({
    db: new Proxy(db, {
      get(target, name) {
        if (name === 'selectFrom') {
          reads++
          if (isAway) throw new DatabaseUnavailable(new Error('the database is away'))
        }
        const member = Reflect.get(target, name, target)
        return typeof member === 'function' ? member.bind(target) : member
      },
    }),
    cookies: createSessionCookies(config, crossSite, purpose),
    values: createCookieValues(secrets),
    purpose,
    crossSite,
    revocations: gateway.app.identity.revocations,
    limitInvalidTokens: {
      check: (_client, work) => work(),
      refuse(_client, refusal) {
        failures++
        return Promise.reject(isExhausted ? problem('rate_limited') : refusal)
      },
    },
    grantsOf: createRoles(config.auth.roles),
    config,
    metrics,
    clock,
  })
  const client = { viaTrustedProxy: false, isSecure: false } as Client
  return {
    ...authentication,
    clock,
    reads: () => reads,
    failures: () => failures,
    loseDatabase() {
      isAway = true
    },
    async see(cookie, { isPublic = false, headers = {} } = {}) {
      const request = {
        method: 'GET',
        headers: { host: 'localhost', ...SAME_ORIGIN, cookie: `${purpose === 'console' ? CONSOLE_COOKIE : COOKIE}=${cookie}`, ...headers },
      } as unknown as IncomingMessage
      return authentication.authenticate(request, { client, isUpgrade: false }, { isStrict: false, isPublic })
    },
  }
}
