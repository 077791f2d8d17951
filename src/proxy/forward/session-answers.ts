/**
 * Answers where browsers have a session cookie. An upstream must not set our cookie, and no shared cache may keep what a session got: RFC
 * 9111 §3.5 protects answers to Authorization, and no answers to Cookie.
 */

import { isPageCookieName } from '../../identity/access/page-cookie-names.ts'
import type { Principal } from '../../identity/access/principal.ts'
import { SESSION_COOKIE_NAMES } from '../../identity/access/session-cookie.ts'

/** Changes the fields of an upstream's answer in place: lower-case name, value, name, value … */
export function guardSession(fields: string[], principal: Principal | null | undefined): void {
  const isBySession = principal ? principal.cookieId !== null : false
  let isPrivate = false
  let variesByCookie = false
  // backwards, because fields are removed
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    const name = fields[i]!
    const isDropped = name === 'set-cookie' ? setsOurs(fields[i + 1]!) : isBySession && isForSharedCaches(name)
    if (isDropped) fields.splice(i, 2)
    else if (isBySession && name === 'cache-control') {
      const left = withoutShared(fields[i + 1]!)
      if (!isPrivate) left.unshift('private')
      isPrivate = true
      if (left.length > 0) fields[i + 1] = left.join(', ')
      else fields.splice(i, 2)
    } else if (isBySession && name === 'vary') variesByCookie ||= NAMES_COOKIE.test(fields[i + 1]!)
  }
  if (!isBySession) return
  if (!isPrivate) fields.push('cache-control', 'private')
  if (!variesByCookie) fields.push('vary', 'Cookie')
}

/**
 * The cookie that a browser would send back with one of our names. A browser sends a cookie without a name as its value alone, so that
 * `=name=value` becomes `name=value`.
 */
function setsOurs(value: string): boolean {
  if (!value.includes('portcullis')) return false
  const [pair = ''] = value.split(';', 1)
  const named = pair.replace(/^[\s=]+/, '')
  const end = named.indexOf('=')
  const name = (end < 0 ? named : named.slice(0, end)).trim()
  return SESSION_COOKIE_NAMES.has(name) || isPageCookieName(name)
}

/** RFC 9111 §5.2: a directive may hold a quoted list, such as `private="x-a, x-b"`. An open quote extends to the end. */
const DIRECTIVE = /(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|$))+/g

/** The directives without those that let shared caches keep an answer, and without `private`, which is set apart. */
const withoutShared = (value: string): string[] =>
  (value.match(DIRECTIVE) ?? []).map((directive) => directive.trim()).filter((directive) => directive !== '' && !SHARED.test(directive))

const SHARED = /^(?:public|private|s-maxage)[ \t]*(?:$|=)/i

const NAMES_COOKIE = /(?:^|,)[ \t]*(?:\*|cookie)[ \t]*(?:,|$)/i

/** Caches of one kind read these before Cache-Control: RFC 9213 §2.2, Edge Architecture, nginx. */
const isForSharedCaches = (name: string): boolean => name.endsWith('cdn-cache-control') || FOR_SHARED_CACHES.has(name)
const FOR_SHARED_CACHES = new Set(['surrogate-control', 'edge-control', 'edge-cache-control', 'x-accel-expires'])
