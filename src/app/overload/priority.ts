/** The importance of a request while this process is busy. It looks at the head alone, and proves nothing. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Priority } from './admission.ts'

export type Classify = (url: string, headers: IncomingHttpHeaders) => Priority

/** Below `auth.prefix`. Each of them gives a token, or a page on the way to a token. */
const LOGINS = [
  '/login',
  '/login/mfa',
  '/login/confirm',
  '/login/email',
  '/login/email/verify',
  '/refresh',
  '/reauthenticate',
  '/token',
  '/ui/login',
  '/ui/factor',
  '/ui/confirm-login',
  '/ui/login/email',
  '/ui/email-login',
]

/** For each request, so that it stays cheap for all other paths. */
export function createIsLogin(authPrefix: string): (url: string) => boolean {
  const logins = new Set(LOGINS.map((path) => authPrefix + path))
  return (url) => url.startsWith(authPrefix) && logins.has(pathOf(url))
}

/** @param isKnown the credential was proven before, and is remembered */
export function createClassify(isLogin: (url: string) => boolean, isKnown: (headers: IncomingHttpHeaders) => boolean): Classify {
  return (url, headers) => {
    if (pathOf(url) === '/health') return 'health'
    if (isLogin(url)) return 'login'
    return isKnown(headers) ? 'known' : 'other'
  }
}

function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}
