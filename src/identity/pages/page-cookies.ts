/** Short secrets that pages keep between two steps. They go to no upstream, since their path is the path of the pages. */
import type { CrossSite } from '../access/cross-site.ts'
import type { Page } from './page-kit.ts'

/**
 * `mfa`: the token of a login that waits for a code. `device`: recognises this browser at the next login. The others: the token of a mailed
 * link.
 */
export type PageCookieName = 'mfa' | 'device' | 'verify' | 'reset' | 'confirm-login'

export interface PageCookies {
  /** @returns null without a cookie of this name */
  read(page: Page, name: PageCookieName): string | null
  /** @param value of the characters of a token, `~` and `.`. @param maxAgeSeconds null: until the browser is closed */
  set(page: Page, name: PageCookieName, value: string, maxAgeSeconds: number | null): void
  clear(page: Page, name: PageCookieName): void
}

const VALUE = /^[A-Za-z0-9_.~-]+$/

export function createPageCookies({ isSecure }: Pick<CrossSite, 'isSecure'>): PageCookies {
  const nameFor = ({ client }: Page, name: PageCookieName) => `${isSecure(client) ? '__Secure-' : ''}portcullis-${name}`
  const write = (page: Page, name: PageCookieName, value: string, maxAge: string) =>
    void page.reply.header(
      'set-cookie',
      `${nameFor(page, name)}=${value}; Path=${page.base}${maxAge}; SameSite=Strict; HttpOnly${isSecure(page.client) ? '; Secure' : ''}`,
    )

  return {
    read(page, name) {
      const start = `${nameFor(page, name)}=`
      const pair = page.request.headers.cookie?.split('; ').find((part) => part.startsWith(start))
      const value = pair?.slice(start.length)
      return value !== undefined && VALUE.test(value) ? value : null
    },
    set: (page, name, value, maxAgeSeconds) => write(page, name, value, maxAgeSeconds === null ? '' : `; Max-Age=${maxAgeSeconds}`),
    clear: (page, name) => write(page, name, '', '; Max-Age=0'),
  }
}
