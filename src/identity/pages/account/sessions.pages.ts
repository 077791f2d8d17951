/** Where the user is logged in. */

import { countryName } from '../../../platform/geo/country-codes.ts'
import { requireId } from '../../../platform/http/endpoint.ts'
import { deviceIn } from '../../../platform/texts/device-text.ts'
import type { createLogout } from '../../accounts/logout.service.ts'
import type { SessionAnswers } from '../../accounts/session-answers.ts'
import type { Sessions, SessionView } from '../../accounts/sessions.service.ts'
import { type Html, html } from '../html.ts'
import type { Page, PageDefinition } from '../page-kit.ts'
import { type AccountFrame, act, badge, requireComplete, timeOf } from './account-frame.ts'

export interface SessionsDeps {
  frame: AccountFrame
  /** The path of all pages. */
  base: string
  sessions: Sessions
  logout: ReturnType<typeof createLogout>
  sessionAnswers: SessionAnswers
}

export function sessionsPage({ frame, base, sessions, logout, sessionAnswers }: SessionsDeps): PageDefinition {
  const submit = act({
    async end({ principal, context }, { id = '' }) {
      await sessions.end(principal.id, requireId(id), context)
      return { to: frame.to('/sessions', 'ended') }
    },
    async others({ principal, context }) {
      await sessions.endOthers(principal, context)
      return { to: frame.to('/sessions', 'others') }
    },
    async all(page) {
      const { principal, context } = page
      await logout({ sessionId: principal.sessionId, userId: principal.id }, 'all', context)
      sessionAnswers.clear(page.request, page.reply)
      return { to: `${base}/login` }
    },
  })

  function rowOf(page: Page, session: SessionView, isCurrent: boolean): Html {
    const { text, language } = page
    const device = session.device === null ? text('account.sessions.unknown') : deviceIn(session.device, language)
    const country = session.country !== null && countryName(session.country, language.code)
    const label = `${text('account.sessions.end')}: ${[device, session.ip, country].filter(Boolean).join(', ')}`
    return html`<li class="row"><div>
<p class="name">${device} ${isCurrent && badge(text('account.sessions.this'), 'good')} ${session.mfa && badge(text('account.sessions.mfa'))}</p>
<p class="hint">${session.ip !== null && html`${text('account.sessions.from')} <span class="code">${session.ip}</span>${country && html` (${country})`} · `}${text('account.sessions.used')} ${timeOf(language, session.last_used_at)}</p>
<p class="hint">${text('account.sessions.since')} ${timeOf(language, session.created_at)} · ${text('account.sessions.until')} ${timeOf(language, session.expires_at)}</p>
</div>
${
  isCurrent
    ? html`<form method="post" action="${base}/logout"><button class="quiet small">${text('page.log-out')}</button></form>`
    : frame.form(page, '/sessions', { action: 'end', submit: 'account.sessions.end', button: 'quiet small', label }, [
        html`<input type="hidden" name="id" value="${session.id}">`,
      ])
}</li>`
  }

  return {
    path: '/account/sessions',
    name: 'ui.account.sessions',
    for: 'user',
    async show(opened) {
      const page = requireComplete(opened)
      const { text, principal } = page
      const open = await sessions.list(principal.id)
      const isOther = (session: SessionView) => session.id !== principal.sessionId
      const sorted = [...open.filter((session) => !isOther(session)), ...open.filter(isOther)]
      return frame.view(
        page,
        '/sessions',
        html`<p>${text('account.sessions.intro')}</p>
<ul class="rows">${sorted.map((session) => rowOf(page, session, !isOther(session)))}</ul>
${open.some(isOther) && frame.form(page, '/sessions', { action: 'others', submit: 'account.sessions.others', button: 'quiet' }, [])}
<details><summary>${text('account.sessions.all')}</summary>
<p>${text('account.sessions.all-means')}</p>
${frame.form(page, '/sessions', { action: 'all', submit: 'account.sessions.all', button: 'danger' }, [])}
</details>`,
        { notices: { ended: 'account.sessions.ended', others: 'account.sessions.others-ended' } },
      )
    },
    submit: (page, fields) => submit(requireComplete(page), fields),
  }
}
