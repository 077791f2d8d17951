/** Short secrets that pages keep between two steps. They go to no upstream, since their path is a path of the pages. */
import { cookieValues } from '../../platform/http/cookies.ts'
import type { CrossSite } from '../access/cross-site.ts'
import { pageCookieName, type SecretKind, type StepSecret } from '../access/page-cookie-names.ts'
import type { Page } from './page-kit.ts'

export interface PageCookies<Name extends StepSecret | SecretKind = StepSecret> {
  /** @returns the values of this name. Another path or domain may add some */
  readAll(page: Page, name: Name): string[]
  /** @returns null without a cookie of this name */
  read(page: Page, name: Name): string | null
  /** @param value of the characters of a token, `~` and `.`. @param maxAgeSeconds null: until the browser is closed */
  set(page: Page, name: Name, value: string, maxAgeSeconds: number | null): void
  clear(page: Page, name: Name): void
}

/** Longer than a step itself, so that the page can say that the step has expired. */
export const STEP_SECONDS = 3600
/** Between the secret of a login's step and the wish to stay logged in. */
export const MARK = '~'

const VALUE = /^[A-Za-z0-9_.~-]+$/

/** @param path of the pages that get the cookies. Default: all pages */
export function createPageCookies<Name extends StepSecret | SecretKind = StepSecret>(
  { isSecure }: Pick<CrossSite, 'isSecure'>,
  path?: string,
): PageCookies<Name> {
  const write = (page: Page, name: Name, value: string, maxAge: string) => {
    const isForHttps = isSecure(page.client)
    const attributes = `Path=${path ?? page.base}${maxAge}; SameSite=Strict; HttpOnly${isForHttps ? '; Secure' : ''}`
    page.reply.header('set-cookie', `${pageCookieName(name, isForHttps)}=${value}; ${attributes}`)
  }
  const readAll = ({ request, client }: Page, name: Name): string[] =>
    cookieValues(request.headers.cookie, pageCookieName(name, isSecure(client))).filter((value) => VALUE.test(value))

  return {
    readAll,
    read: (page, name) => readAll(page, name)[0] ?? null,
    set: (page, name, value, maxAgeSeconds) => write(page, name, value, maxAgeSeconds === null ? '' : `; Max-Age=${maxAgeSeconds}`),
    clear: (page, name) => write(page, name, '', '; Max-Age=0'),
  }
}
