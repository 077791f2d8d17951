/**
 * Where a reader goes on after a page: the parameter `return_to`. It may come from a link of another site, so it never leads off our origin.
 * Below `auth.prefix` it leads to some pages only.
 */
import type { IncomingMessage } from 'node:http'
import type { CrossSite } from '../access/cross-site.ts'
import type { Page } from './page-kit.ts'

export interface ReturnTo {
  /**
   * Reads a `return_to`: `returnTo.of(page, page.query.return_to)`.
   * @returns a path of our origin, with its query and fragment. Null when the value is missing, malformed or leads elsewhere
   */
  of(page: Pick<Page, 'client'> & { request: { raw: IncomingMessage } }, value: string | undefined): string | null
  /** @returns the path of a page that goes on to the target. Without a target, the path as it is */
  to(path: string, target: string | null): string
}

/** The account pages, below `{prefix}/ui/account`. */
export const ACCOUNT_SECTIONS = [
  '',
  '/profile',
  '/password',
  '/factors',
  '/passkeys',
  '/logins',
  '/sessions',
  '/api-keys',
  '/delete',
] as const

/** The pages below `{prefix}/ui` that a reader may return to. Each of them only shows. */
const PAGES = [...ACCOUNT_SECTIONS.map((section) => `/ui/account${section}`), '/ui/invitation']

const CONSOLE = /^\/console(?:\/[a-z0-9-]+)*$/

/** A longer target is dropped. Browsers and proxies take a Location of this length. */
const MAX_LENGTH = 2048

/** `https:path` without slashes is read in different ways. */
const FORM = /^(?:\/|https?:\/\/)/i

/** URL parsers drop tabs and line breaks, and read `\` as `/`. Our own links hold none of them. */
const NEVER = /[\x00-\x1f\x7f\\]/

/** @param authPrefix `auth.prefix` */
export function createReturnTo(crossSite: Pick<CrossSite, 'ownOrigin'>, authPrefix: string): ReturnTo {
  const pages: ReadonlySet<string> = new Set(PAGES.map((page) => authPrefix + page))
  const prefix = authPrefix.toLowerCase()
  // a GET of the console changes nothing
  const isShown = (path: string) => pages.has(path) || CONSOLE.test(path.slice(authPrefix.length))

  function isOurs(path: string): boolean {
    const reading = lenientReading(path)
    return reading === prefix || reading.startsWith(`${prefix}/`)
  }

  return {
    of({ request, client }, value) {
      if (value === undefined || value.length > MAX_LENGTH || NEVER.test(value) || !FORM.test(value)) return null
      const origin = crossSite.ownOrigin(request.raw, client)
      const url = origin === null ? null : URL.parse(value, origin)
      if (!url || url.origin !== origin || url.username !== '' || url.password !== '') return null
      // `/.//host/` is a path here. Written out again, it would begin with a host
      if (url.pathname.startsWith('//')) return null
      // the fragment of a linked page is the token of a link
      if (isOurs(url.pathname)) return isShown(url.pathname) ? url.pathname + url.search : null
      return url.pathname + url.search + url.hash
    },
    to: withReturnTo,
  }
}

/** The path of a page that goes on to the target. */
export const withReturnTo = (path: string, target: string | null): string =>
  target === null ? path : `${path}${path.includes('?') ? '&' : '?'}return_to=${encodeURIComponent(target)}`

/** The path as the most lenient server reads it. */
const lenientReading = (path: string): string =>
  decoded(decoded(path))
    .replaceAll('\\', '/')
    .replace(/;[^/]*/g, '')
    .replace(/\/{2,}/g, '/')
    .toLowerCase()

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
