/** The importance of a request while this process is busy. It looks at the head alone, and proves nothing. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Priority } from './admission.ts'

export type Classify = (url: string, headers: IncomingHttpHeaders) => Priority

/** Below `auth.prefix`. Each of them gives a token, or a page on the way to a token. */
const LOGINS = [
  '/login',
  '/login/mfa',
  '/login/confirm',
  '/refresh',
  '/reauthenticate',
  '/token',
  '/ui/login',
  '/ui/factor',
  '/ui/confirm-login',
]

/** @param isKnown the credential was proven before, and is remembered */
export function createClassify(authPrefix: string, isKnown: (headers: IncomingHttpHeaders) => boolean): Classify {
  const logins = new Set(LOGINS.map((path) => authPrefix + path))
  return (url, headers) => {
    const query = url.indexOf('?')
    const path = query === -1 ? url : url.slice(0, query)
    if (path === '/health') return 'health'
    if (logins.has(path)) return 'login'
    return isKnown(headers) ? 'known' : 'other'
  }
}
