/** The second factor: an authenticator app, and backup codes. Users whose role requires a factor are led here, and back. */

import type { createProfile } from '../../accounts/profile.service.ts'
import type { SessionAnswers } from '../../accounts/session-answers.ts'
import type { createEnrolment } from '../../factors/enrolment.service.ts'
import { qrOf, secretOf } from '../../factors/totp.ts'
import { type Html, html, type Part } from '../html.ts'
import { LENGTHS, type PageDefinition, requireFields } from '../page-kit.ts'
import type { ReturnTo } from '../return-to.ts'
import { type AccountFrame, type AccountPage, act, badge, codeEntry, proofOf, requireUser } from './account-frame.ts'
import { FEW_CODES } from './overview.pages.ts'
import type { ShownOnce } from './shown-once.ts'

export interface FactorsDeps {
  frame: AccountFrame
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  enrolment: ReturnType<typeof createEnrolment>
  sessionAnswers: SessionAnswers
  shownOnce: ShownOnce
  returnTo: ReturnTo
  serviceName: string
  hasPasskeys: boolean
}

export function factorsPage({
  frame,
  profile,
  enrolment,
  sessionAnswers,
  shownOnce,
  returnTo,
  serviceName,
  hasPasskeys,
}: FactorsDeps): PageDefinition {
  const targetOf = (page: AccountPage) => returnTo.of(page, page.query.return_to)

  const submit = act({
    async begin(page, fields) {
      const { current_password: password, code } = proofOf(fields)
      const { otpauth_uri } = await enrolment.enrol(page.principal, { password, code }, page.context)
      shownOnce.keep(page, 'enrolment', otpauth_uri)
      return { to: returnTo.to(frame.to('/factors'), targetOf(page)) }
    },
    async cancel(page) {
      shownOnce.drop(page, 'enrolment')
      return { to: returnTo.to(frame.to('/factors'), targetOf(page)) }
    },
    async confirm(page, fields) {
      const { code } = requireFields(fields, { code: LENGTHS.code })
      const answer = await enrolment.confirm(page.principal, code, page.context)
      const { backup_codes } = sessionAnswers.send(page.request, page.reply, answer)
      shownOnce.drop(page, 'enrolment')
      shownOnce.keep(page, 'backup-codes', backup_codes.join('\n'))
      return { to: returnTo.to(frame.to('/factors', 'on'), targetOf(page)) }
    },
    async codes(page, fields) {
      const { current_password: password, code } = proofOf(fields)
      const { backup_codes } = await enrolment.renewCodes(page.principal, { password, code }, page.context)
      shownOnce.keep(page, 'backup-codes', backup_codes.join('\n'))
      return { to: frame.to('/factors', 'codes') }
    },
    async remove(page, fields) {
      const { current_password: password, code } = proofOf(fields)
      await enrolment.disable(page.principal, { password, code }, page.context)
      return { to: frame.to('/factors', 'off') }
    },
  })

  return {
    path: '/account/factors',
    name: 'ui.account.factors',
    for: 'user',
    async show(opened) {
      const page = requireUser(opened)
      const { principal } = page
      const [user, status] = await Promise.all([profile.get(principal.id), enrolment.status(principal)])
      const target = targetOf(page)

      function content(): Part {
        const codes = shownOnce.take(page, 'backup-codes')
        if (codes !== null) return backupCodes(codes.split('\n'))
        const uri = status.totp ? null : shownOnce.read(page, 'enrolment')
        if (uri !== null) return confirm(uri)
        if (status.totp) return [present('account.factors.is-on'), codeForms()]
        return status.passkeys > 0 ? [present('account.factors.by-passkey'), codeForms(), begin()] : begin()
      }

      const { text } = page
      const begin = () => html`${principal.owesFactor && html`<p class="notice">${text('account.factors.required')}</p>`}
${status.passkeys > 0 ? html`<h2>${text('account.factors.begin')}</h2>` : html`<p>${badge(text('account.factors.off'), 'warn')}</p>`}
<p>${text('account.factors.intro')}</p>
${status.passkeys === 0 && hasPasskeys && html`<p class="links"><a href="${returnTo.to(frame.to('/passkeys'), target)}">${text('account.factors.or-passkey')}</a></p>`}
${frame.form(page, '/factors', { action: 'begin', submit: 'account.factors.begin', returnTo: target }, [
  frame.proof(page, 'begin', user, { needsPassword: true }),
])}`

      const confirm = (uri: string) => html`<ol class="steps">
<li><p>${text('account.factors.scan')}</p>
<p><img class="qr" src="${qrOf(uri)}" alt="${text('account.factors.qr')}" width="220" height="220"></p>
<details><summary>${text('account.factors.by-hand')}</summary>
<p>${text('account.factors.secret')} <code class="code" id="secret">${grouped(secretOf(uri))}</code></p>
<p class="hint">${text('account.factors.secret-hint')}</p></details>
<p class="hint"><a href="${uri}">${text('account.factors.open-app')}</a></p></li>
<li><p>${text('account.factors.type-code')}</p>
${frame.form(page, '/factors', { action: 'confirm', submit: 'account.factors.confirm', returnTo: target }, [
  codeEntry(page, 'confirm', 'account.factors.code-hint'),
])}</li>
</ol>
${frame.form(page, '/factors', { action: 'cancel', submit: 'account.factors.cancel', button: 'quiet small', returnTo: target }, [])}`

      const backupCodes = (codes: string[]): Html => html`<h2>${text('account.codes.title')}</h2>
<p>${text('account.codes.intro')}</p>
<p><strong>${text('account.codes.once')}</strong></p>
<ul class="codes" id="codes" aria-label="${text('account.codes.title')}">${codes.map((code) => html`<li><code>${code}</code></li>`)}</ul>
<p class="links"><button type="button" class="quiet small" data-copy="codes" data-done="${text('account.copied')}" hidden>${text('account.copy')}</button>
<button type="button" class="quiet small" data-print hidden>${text('account.print')}</button>
<a class="button quiet small" href="data:text/plain;charset=utf-8,${encodeURIComponent(`${serviceName}: ${user.username ?? user.email}\n\n${codes.join('\n')}\n`)}" download="${text('account.codes.file')}">${text('account.download')}</a></p>
<p><a class="button" href="${target ?? frame.to('/factors')}">${text(target === null ? 'account.codes.saved' : 'account.codes.continue')}</a></p>`

      const present = (
        how: 'account.factors.is-on' | 'account.factors.by-passkey',
      ) => html`<p>${badge(text('account.factors.on'), 'good')}</p>
<p>${text(how)} ${text('account.factors.left', { count: status.backup_codes_left })}
${status.backup_codes_left <= FEW_CODES && text('account.factors.few')}</p>
${target !== null && html`<p><a class="button" href="${target}">${text('page.continue')}</a></p>`}`

      const isOpen = (action: string) => page.form.typed.action === action && html` open`
      const codeForms = () => html`<details${isOpen('codes')}><summary>${text('account.codes.renew')}</summary>
<p>${text('account.codes.renew-means')}</p>
${frame.form(page, '/factors', { action: 'codes', submit: 'account.codes.renew' }, [frame.proof(page, 'codes', user)])}</details>
${
  status.totp &&
  html`<details${isOpen('remove')}><summary>${text('account.factors.remove')}</summary>
<p>${text('account.factors.remove-means')}</p>
${frame.form(page, '/factors', { action: 'remove', submit: 'account.factors.remove', button: 'danger' }, [
  frame.proof(page, 'remove', user),
])}</details>`
}`

      return frame.view(page, '/factors', content(), {
        notices: {
          passkey: 'account.passkeys.now-on',
          on: 'account.factors.now-on',
          off: 'account.factors.now-off',
          codes: 'account.codes.renewed',
        },
      })
    },
    submit: (page, fields) => submit(requireUser(page), fields),
  }
}

/** For a person who types it. */
const grouped = (secret: string): string => secret.match(/.{1,4}/g)!.join(' ')
