/** Sessions that pages begin and end: their cookie, and where the user goes on. */
import type { CrossSite } from '../access/cross-site.ts'
import type { SessionCookies } from '../access/session-cookie.ts'
import type { NewCookie } from '../sessions/cookie-values.ts'
import { html } from './html.ts'
import type { PageCookies } from './page-cookies.ts'
import type { Outcome, Page } from './page-kit.ts'

export interface PageSessions {
  /** False: plain http to another host than this machine. No browser would keep the cookie. */
  areReachable(page: Page): boolean
  /** Sends the cookie of a session that a service has opened or raised. @param answer of the service */
  send(page: Page, answer: { cookie: NewCookie; device_token?: string } | object): void
  /** After a logout. */
  clear(page: Page): void
  /** On the login page: a cookie that is no valid session. A request that another site began clears nothing. */
  clearStale(page: Page): void
  /** The token by which a login recognises this browser. */
  deviceToken(page: Page): { device_token?: string }
  /** Leads on to a path of this origin. */
  leadOn(page: Page, path: string): Outcome
  /** The same by a page of ours: the next request is one of our own site. */
  moveOn(page: Page, path: string): Outcome
}

const DEVICE_SECONDS = 31_536_000

export function createPageSessions(sessionCookies: SessionCookies, cookies: PageCookies, crossSite: CrossSite): PageSessions {
  function clear({ request, reply, client }: Page): void {
    for (const header of sessionCookies.toClear(request.raw, client)) reply.header('set-cookie', header)
  }

  function moveOn(page: Page, path: string): Outcome {
    page.reply.header('refresh', `0;url=${path}`)
    return {
      title: page.text('page.moving-on'),
      body: html`<p><a class="button" href="${path}">${page.text('page.continue')}</a></p>`,
    }
  }

  return {
    areReachable: ({ request, client }) => sessionCookies.nameFor(request.raw, client) !== null,
    send(page, answer) {
      const { cookie, device_token } = answer as { cookie?: NewCookie; device_token?: string }
      if (!cookie) throw new TypeError('the service gave no cookie')
      page.reply.header('set-cookie', sessionCookies.toSet(page.request.raw, page.client, cookie))
      if (device_token !== undefined) cookies.set(page, 'device', device_token, DEVICE_SECONDS)
    },
    clear,
    clearStale(page) {
      const { request, client, principal, form } = page
      if (principal || form.problem || sessionCookies.read(request.raw, client).length === 0) return
      if (crossSite.admitsCookie(request.raw, client, false, false)) clear(page)
    },
    deviceToken(page) {
      const device_token = cookies.read(page, 'device')
      return device_token === null ? {} : { device_token }
    },
    // a service of ours may redirect to another site, and `form-action` would block this redirect after a form
    leadOn: (page, path) => (path.startsWith(`${page.base}/`) ? { to: path } : moveOn(page, path)),
    moveOn,
  }
}
