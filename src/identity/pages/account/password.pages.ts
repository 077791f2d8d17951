/** A new password. Users who must change their password are led here, and back to where they were going. */

import type { Config } from '../../../platform/config/schema.ts'
import type { createPasswordChange } from '../../accounts/password-change.service.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import type { SessionAnswers } from '../../accounts/session-answers.ts'
import { html } from '../html.ts'
import { LENGTHS, type PageDefinition, requireFields, showPassword } from '../page-kit.ts'
import type { PageSessions } from '../page-sessions.ts'
import type { ReturnTo } from '../return-to.ts'
import { type AccountFrame, act, entry, proofOf, requirePerson } from './account-frame.ts'

export interface PasswordDeps {
  frame: AccountFrame
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  changePassword: ReturnType<typeof createPasswordChange>
  sessionAnswers: SessionAnswers
  leadOn: PageSessions['leadOn']
  returnTo: ReturnTo
  minLength: Config['auth']['password']['minLength']
}

const ACTION = 'password'

export function passwordPage({
  frame,
  profile,
  changePassword,
  sessionAnswers,
  leadOn,
  returnTo,
  minLength,
}: PasswordDeps): PageDefinition {
  const submit = act({
    async [ACTION](page, fields) {
      const { has_password } = await profile.get(page.principal.id)
      const lengths = { new_password: LENGTHS.password, ...(has_password && { current_password: LENGTHS.password }) }
      const { new_password } = requireFields(fields, lengths as { new_password: number })
      const target = returnTo.of(page, page.query.return_to)
      const answer = await changePassword(page.principal, { ...proofOf(fields), new_password }, page.context)
      sessionAnswers.send(page.request, page.reply, answer)
      return { to: returnTo.to(frame.to('/password', 'changed'), target) }
    },
  })

  return {
    path: '/account/password',
    name: 'ui.account.password',
    for: 'user',
    async show(opened) {
      const page = requirePerson(opened)
      const { text } = page
      const user = await profile.get(page.principal.id)
      const target = returnTo.of(page, page.query.return_to)
      if (target !== null && page.query.done === 'changed' && page.form.problem === null) return leadOn(page, target)
      return frame.view(
        page,
        '/password',
        html`${user.password_must_change && html`<p class="notice">${text('account.password.must')}</p>`}
<p>${text('account.password.intro')}</p>
${frame.form(page, '/password', { action: ACTION, submit: 'account.password.submit', returnTo: target }, [
  // password managers keep the new password under this name
  html`<input type="text" name="username" autocomplete="username" value="${user.username ?? user.email}" hidden>`,
  frame.proof(page, ACTION, user, { needsPassword: true }),
  entry(page, ACTION, {
    name: 'new_password',
    label: 'field.new-password',
    type: 'password',
    autocomplete: 'new-password',
    hint: text('account.password.hint', { count: minLength }),
  }),
  showPassword(page, `${ACTION}-current_password`, `${ACTION}-new_password`),
])}`,
        { notices: { changed: 'account.password.changed' } },
      )
    },
    submit: (page, fields) => submit(requirePerson(page), fields),
  }
}
