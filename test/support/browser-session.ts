/** Sessions by cookie for tests without a browser: the headers that a browser would send from a page of the gateway itself. */
import { type Answer, type CallOptions, call, type TestUser } from './client.ts'

/** Settings of a gateway with sessions by cookie. */
export const BROWSER = { auth: { browser: { enabled: true } } }

/** The name on plain http of this machine. */
export const COOKIE = 'portcullis-dev'

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
  { remember }: { remember?: boolean } = {},
): Promise<string> {
  const body = { login: username, password, session: 'cookie', ...(remember === undefined ? {} : { remember }) }
  const answer = await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN })
  const value = cookieFrom(answer)
  if (answer.status !== 200 || !value) throw new Error(`login answered ${answer.status}: ${JSON.stringify(answer.body)}`)
  return value
}
