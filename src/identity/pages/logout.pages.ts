/** The end of a session. A GET shows a button, since links and images of other sites can begin a GET. */
import type { FastifyInstance } from 'fastify'
import type { createLogout } from '../accounts/logout.service.ts'
import { html } from './html.ts'
import { formNotice, type PageKit } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import type { ReturnTo } from './return-to.ts'

export interface LogoutPagesDeps {
  logout: ReturnType<typeof createLogout>
  sessions: PageSessions
  returnTo: ReturnTo
}

export const logoutPages =
  ({ logout, sessions, returnTo }: LogoutPagesDeps) =>
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
        if (principal?.kind === 'user') await logout({ sessionId: principal.sessionId, userId: principal.id }, 'session', context)
        sessions.clear(page)
        // pages of the session must not come back from the cache
        reply.header('clear-site-data', '"cache"')
        const target = returnTo.of(page, query.return_to)
        return target === null ? { to: `${base}/login?done=logout` } : sessions.leadOn(page, target)
      },
    })
