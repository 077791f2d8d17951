/** Deletes the account, after the reader has seen what that means. */
import { invalidField } from '../../../platform/lib/errors.ts'
import type { createAccountDeletion } from '../../accounts/account-deletion.service.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import type { SessionAnswers } from '../../accounts/session-answers.ts'
import { html } from '../html.ts'
import type { PageDefinition } from '../page-kit.ts'
import { type AccountFrame, act, proofOf, requireComplete } from './account-frame.ts'

export interface DeleteDeps {
  frame: AccountFrame
  /** The path of all pages. */
  base: string
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  deleteAccount: ReturnType<typeof createAccountDeletion>
  sessionAnswers: SessionAnswers
}

export function deletePages({ frame, base, profile, deleteAccount, sessionAnswers }: DeleteDeps): PageDefinition[] {
  const submit = act({
    async delete(page, fields) {
      if (fields.confirm === undefined) throw invalidField('confirm', 'required', 'is needed')
      await deleteAccount(page.principal, proofOf(fields), page.context)
      sessionAnswers.clear(page.request, page.reply)
      return { to: `${base}/account/deleted` }
    },
  })

  return [
    {
      path: '/account/delete',
      name: 'ui.account.delete',
      for: 'user',
      async show(opened) {
        const page = requireComplete(opened)
        const { text } = page
        const user = await profile.get(page.principal.id)
        const isUnconfirmed = page.form.errors.some(({ field }) => field === 'confirm')
        return frame.view(
          page,
          '/delete',
          html`<p>${text('account.delete.intro', { name: user.username ?? user.email })}</p>
<ul>
<li>${text('account.delete.profile')}</li>
<li>${text('account.delete.sessions')}</li>
<li>${text('account.delete.keys')}</li>
<li>${text('account.delete.factors')}</li>
</ul>
<p>${text('account.delete.kept')}</p>
<p><strong>${text('account.delete.final')}</strong></p>
${frame.form(page, '/delete', { action: 'delete', submit: 'account.delete.submit', button: 'danger' }, [
  frame.proof(page, 'delete', user),
  html`<label class="check"><input type="checkbox" name="confirm" value="yes" required${
    isUnconfirmed && html` aria-invalid="true" aria-describedby="confirm-error"`
  }> <span>${text('account.delete.confirm')}</span></label>
${isUnconfirmed && html`<p class="error" id="confirm-error">${text('account.delete.unconfirmed')}</p>`}`,
])}
<p><a href="${frame.to('')}">${text('account.delete.keep')}</a></p>`,
        )
      },
      submit: (page, fields) => submit(requireComplete(page), fields),
    },
    {
      path: '/account/deleted',
      name: 'ui.account.deleted',
      for: 'everyone',
      show: ({ text }) => ({
        title: text('account.deleted.title'),
        body: html`<p role="status">${text('account.deleted.text')}</p>
<ul class="links"><li><a href="${base}/login">${text('login.title')}</a></li></ul>`,
      }),
    },
  ]
}
