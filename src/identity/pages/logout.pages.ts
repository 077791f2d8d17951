/** The end of a session. A GET shows a button, since links and images of other sites can begin a GET. */
import type { FastifyInstance } from 'fastify'
import type { createLogout } from '../accounts/logout.service.ts'
import type { ProviderLogout } from '../providers/provider-logout.ts'
import type { Providers } from '../providers/providers.ts'
import { html } from './html.ts'
import type { PageCookies } from './page-cookies.ts'
import { formNotice, type PageKit } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import { leadOut } from './provider.pages.ts'
import type { ReturnTo } from './return-to.ts'

export interface LogoutPagesDeps {
  logout: ReturnType<typeof createLogout>
  providers: Providers
  providerLogout: ProviderLogout
  /** Sent to all paths of the gateway. */
  cookies: PageCookies
  sessions: PageSessions
  returnTo: ReturnTo
}

/** After a logout, for so long, a provider asks for the credential again. */
const LEFT_SECONDS = 3600

export const logoutPages =
  ({ logout, providers, providerLogout, cookies, sessions, returnTo }: LogoutPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void =>
    kit.define(app, {
      path: '/logout',
      name: 'ui.logout',
      for: 'everyone',
      show(page) {
        const { text, base, principal } = page
        if (!principal && !page.form.problem) return { to: `${base}/login` }
        return {
          title: text('logout.title'),
          body: html`${formNotice(page)}
<p>${text('logout.lead')}</p>
<form method="post"><button>${text('page.log-out')}</button></form>
<p class="links"><a href="${base}/account">${text('page.back')}</a></p>`,
        }
      },
      async submit(page) {
        const { principal, context, reply, base, query } = page
        const out = principal?.kind === 'user' ? await providerLogout(principal.id, principal.sessionId) : null
        if (principal?.kind === 'user') await logout({ sessionId: principal.sessionId, userId: principal.id }, 'session', context)
        sessions.clear(page)
        // pages of the session must not come back from the cache
        reply.header('clear-site-data', '"cache"')
        // at a shared computer, the next sign-in must not go through without a question
        if (providers.list.length > 0) cookies.set(page, 'left', '1', LEFT_SECONDS)
        if (out) return leadOut(page, out.provider, out.url)
        const target = returnTo.of(page, query.return_to)
        return target === null ? { to: `${base}/login?done=logout` } : sessions.leadOn(page, target)
      },
    })
