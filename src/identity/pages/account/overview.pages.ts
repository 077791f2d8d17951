/** The account at a glance. */

import type { createProfile } from '../../accounts/profile.service.ts'
import type { Sessions } from '../../accounts/sessions.service.ts'
import type { ApiKeys } from '../../api-keys/api-keys.service.ts'
import type { createEnrolment } from '../../factors/enrolment.service.ts'
import { type Html, html, type Part } from '../html.ts'
import type { PageDefinition } from '../page-kit.ts'
import { type AccountFrame, badge, requireComplete, type Section, timeOf } from './account-frame.ts'

export interface OverviewDeps {
  frame: AccountFrame
  profile: Pick<ReturnType<typeof createProfile>, 'get' | 'waitingAddress'>
  enrolment: Pick<ReturnType<typeof createEnrolment>, 'status'>
  sessions: Pick<Sessions, 'list'>
  apiKeys: Pick<ApiKeys, 'list'>
}

/** With fewer codes, the user should make new codes. */
export const FEW_CODES = 3

export function overviewPage({ frame, profile, enrolment, sessions, apiKeys }: OverviewDeps): PageDefinition {
  const card = (section: Section, title: string, content: Part): Html =>
    html`<li class="card"><h2><a href="${frame.to(section)}">${title}</a></h2>
${content}</li>`

  return {
    path: '/account',
    name: 'ui.account',
    for: 'user',
    async show(opened) {
      const page = requireComplete(opened)
      const { text, language, principal } = page
      const [user, waiting, factor, open, keys] = await Promise.all([
        profile.get(principal.id),
        profile.waitingAddress(principal),
        enrolment.status(principal),
        sessions.list(principal.id),
        apiKeys.list(principal.id),
      ])
      const count = (
        amount: number,
        one: 'account.sessions.one' | 'account.keys.one',
        many: 'account.sessions.many' | 'account.keys.many',
      ) => html`<p>${amount === 1 ? text(one) : text(many, { count: amount })}</p>`
      return frame.view(
        page,
        '',
        html`<p>${text('account.greeting', { name: user.username ?? user.email })}</p>
<ul class="cards">
${card('/profile', text('account.profile.title'), [
  html`<p>${user.email}</p>
<p>${user.email_verified ? badge(text('account.email.proven'), 'good') : badge(text('account.email.unproven'), 'warn')}</p>`,
  waiting !== null && html`<p class="hint">${text('account.email.waiting', { email: waiting })}</p>`,
])}
${card('/factors', text('account.factors.title'), [
  html`<p>${user.mfa_enabled ? badge(text('account.factors.on'), 'good') : badge(text('account.factors.off'), 'warn')}</p>`,
  html`<p class="hint">${user.mfa_enabled ? text('account.factors.left', { count: factor.backup_codes_left }) : text('account.factors.advice')}</p>`,
  user.mfa_enabled && factor.backup_codes_left <= FEW_CODES && html`<p class="hint">${text('account.factors.few')}</p>`,
])}
${card('/sessions', text('account.sessions.title'), [
  count(open.length, 'account.sessions.one', 'account.sessions.many'),
  user.last_login_at !== null && html`<p class="hint">${text('account.last-login')} ${timeOf(language, user.last_login_at)}</p>`,
])}
${card('/api-keys', text('account.keys.title'), keys.length === 0 ? html`<p>${text('account.keys.none')}</p>` : count(keys.length, 'account.keys.one', 'account.keys.many'))}
</ul>
<p class="hint">${text('account.since')} ${timeOf(language, user.created_at)}</p>`,
      )
    },
  }
}
