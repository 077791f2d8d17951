/** Username and e-mail address. */
import type { Config } from '../../../platform/config/schema.ts'
import type { createEmailVerification } from '../../accounts/email-verification.service.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import { html } from '../html.ts'
import { LENGTHS, type PageDefinition, requireFields } from '../page-kit.ts'
import { type AccountFrame, act, badge, entry, proofOf, requireComplete } from './account-frame.ts'

export interface ProfileDeps {
  frame: AccountFrame
  profile: ReturnType<typeof createProfile>
  verification: Pick<ReturnType<typeof createEmailVerification>, 'request'>
  auth: Pick<Config['auth'], 'username' | 'emailVerification'>
}

export function profilePage({ frame, profile, verification, auth }: ProfileDeps): PageDefinition {
  const submit = act({
    async username(page, fields) {
      await profile.change(page.principal, { ...proofOf(fields), ...requireFields(fields, { username: LENGTHS.username }) }, page.context)
      return { to: frame.to('/profile', 'username') }
    },
    async email(page, fields) {
      const before = await profile.get(page.principal.id)
      const { email } = await profile.change(
        page.principal,
        { ...proofOf(fields), ...requireFields(fields, { email: LENGTHS.email }) },
        page.context,
      )
      const isWaiting = auth.emailVerification === 'required' && email === before.email
      return { to: frame.to('/profile', isWaiting ? 'email-asked' : 'email') }
    },
    async resend(page) {
      await verification.request(page.principal, page.context)
      return { to: frame.to('/profile', 'resent') }
    },
    async remind(page) {
      await profile.remind(page.principal, page.context)
      return { to: frame.to('/profile', 'resent') }
    },
  })

  return {
    path: '/account/profile',
    name: 'ui.account.profile',
    for: 'user',
    async show(opened) {
      const page = requireComplete(opened)
      const { text } = page
      const [user, waiting] = await Promise.all([profile.get(page.principal.id), profile.waitingAddress(page.principal)])
      const state = user.email_verified ? badge(text('account.email.proven'), 'good') : badge(text('account.email.unproven'), 'warn')
      const username = [
        entry(page, 'username', {
          name: 'username',
          label: 'field.username',
          autocomplete: 'username',
          hint: text('account.username-hint'),
          value: user.username ?? '',
          maxLength: 64,
        }),
        frame.proof(page, 'username', user),
      ]
      const email = [
        html`<p class="hint">${text(auth.emailVerification === 'required' ? 'account.email.hint-required' : 'account.email.hint')}</p>`,
        entry(page, 'email', { name: 'email', label: 'account.email.new', type: 'email', autocomplete: 'email', maxLength: 254 }),
        frame.proof(page, 'email', user, { needsPassword: true }),
      ]
      return frame.view(
        page,
        '/profile',
        html`${auth.username !== 'off' && frame.form(page, '/profile', { action: 'username', submit: 'account.save' }, username)}
<section aria-labelledby="of-email"><h2 id="of-email">${text('field.email')}</h2>
<p class="fact"><span>${user.email}</span> ${state}</p>
${
  !user.email_verified &&
  frame.form(page, '/profile', { action: 'resend', submit: 'account.email.resend', button: 'quiet small' }, [
    html`<p class="hint">${text('account.email.prove')}</p>`,
  ])
}
${
  waiting !== null &&
  html`<div class="notice">${frame.form(page, '/profile', { action: 'remind', submit: 'account.email.resend', button: 'quiet small' }, [
    html`<p>${text('account.email.waiting', { email: waiting })}</p>`,
  ])}</div>`
}
<h3>${text('account.email.change')}</h3>
${frame.form(page, '/profile', { action: 'email', submit: 'account.email.submit' }, email)}</section>`,
        {
          notices: {
            username: 'account.username-saved',
            email: 'account.email.saved',
            'email-asked': 'account.email.asked',
            resent: 'account.email.resent',
          },
        },
      )
    },
    submit: (page, fields) => submit(requireComplete(page), fields),
  }
}
