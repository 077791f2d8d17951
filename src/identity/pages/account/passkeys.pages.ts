/** The passkeys of the account. */
import { problem } from '../../../platform/lib/errors.ts'
import { isId } from '../../../platform/lib/ids.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import type { SessionAnswers } from '../../accounts/session-answers.ts'
import { readAttestation } from '../../factors/passkey-answers.ts'
import type { Passkeys, PasskeyView } from '../../factors/passkeys.service.ts'
import type { OwnUserView } from '../../users/user-view.ts'
import { type Html, html } from '../html.ts'
import { type Fields, type Outcome, type PageDefinition, requireFields } from '../page-kit.ts'
import { answerIn, type PasskeyForms } from '../passkey-form.ts'
import type { ReturnTo } from '../return-to.ts'
import { type AccountFrame, type AccountPage, entry, proofOf, requireUser, timeOf } from './account-frame.ts'
import type { ShownOnce } from './shown-once.ts'

export interface PasskeysPageDeps {
  frame: AccountFrame
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  passkeys: Passkeys
  passkeyForms: PasskeyForms
  sessionAnswers: SessionAnswers
  shownOnce: ShownOnce
  returnTo: ReturnTo
}

const MAX_NAME = 64

export function passkeysPage(deps: PasskeysPageDeps): PageDefinition {
  const { frame, profile, passkeys, passkeyForms, sessionAnswers, shownOnce, returnTo } = deps

  /** Each form has an action of its own, such as `remove-<id>`. @throws validation_failed for another action */
  async function submit(page: AccountPage, fields: Fields): Promise<Outcome> {
    if (fields.action === 'begin') return begin(page, fields)
    if (fields.action === 'finish') return finish(page, fields)
    const [, kind, id = ''] = /^(rename|remove)-([0-9a-f-]+)$/.exec(fields.action ?? '') ?? []
    if (kind === undefined || !isId(id)) throw problem('validation_failed', { cause: 'the form has another action' })
    if (kind === 'rename') {
      await passkeys.rename(page.principal, id, requireFields(fields, { name: MAX_NAME }).name, page.context)
      return { to: frame.to('/passkeys', 'renamed') }
    }
    const { current_password: password, code } = proofOf(fields)
    await passkeys.remove(page.principal, id, { password, code }, page.context)
    return { to: frame.to('/passkeys', 'removed') }
  }

  /** The answer is a page: the browser makes the passkey, and sends it with a second form. */
  async function begin(page: AccountPage, fields: Fields): Promise<Outcome> {
    const { current_password: password, code } = proofOf(fields)
    const begun = await passkeys.begin(page.principal, { password, code }, page.context)
    const { text } = page
    const hidden = html`<input type="hidden" name="action" value="finish">`
    return frame.view(
      page,
      '/passkeys',
      html`<p>${text('account.passkeys.make-lead')}</p>
${passkeyForms.form(page, begun, { submit: 'account.passkeys.make', isNew: true, fields: hidden })}
${needsScript(page)}
<p class="links"><a href="${frame.to('/passkeys')}">${text('page.back')}</a></p>`,
    )
  }

  async function finish(page: AccountPage, fields: Fields): Promise<Outcome> {
    const answer = await passkeys.finish(page.principal, answerIn(fields, readAttestation), page.context)
    const { backup_codes } = sessionAnswers.send(page.request, page.reply, answer)
    if (!backup_codes) return { to: frame.to('/passkeys', 'added') }
    shownOnce.keep(page, 'backup-codes', backup_codes.join('\n'))
    return { to: returnTo.to(frame.to('/factors', 'passkey'), returnTo.of(page, page.query.return_to)) }
  }

  const needsScript = ({ text }: AccountPage) => html`<noscript><p class="notice bad">${text('passkey.needs-script')}</p></noscript>
<p class="notice bad" data-no-passkeys hidden>${text('passkey.unknown-browser')}</p>`

  function row(page: AccountPage, user: OwnUserView, passkey: PasskeyView): Html {
    const { text, language } = page
    const { id, name } = passkey
    const isOpen = (action: string) => page.form.typed.action === action && html` open`
    const options = { submit: 'account.passkeys.remove', button: 'danger', label: `${text('account.passkeys.remove')}: ${name}` } as const
    return html`<li class="row"><div>
<p class="name">${name}</p>
<p class="hint">${text('account.passkeys.made')} ${timeOf(language, passkey.created_at)}${
      passkey.last_used_at !== null && html` · ${text('account.logins.used')} ${timeOf(language, passkey.last_used_at)}`
    }</p>
${passkey.backed_up && html`<p class="hint">${text('account.passkeys.backed-up')}</p>`}
<details${isOpen(`rename-${id}`)}><summary>${text('account.passkeys.rename')}</summary>
${frame.form(
  page,
  '/passkeys',
  {
    action: `rename-${id}`,
    submit: 'account.passkeys.rename-now',
    button: 'quiet small',
    label: `${text('account.passkeys.rename-now')}: ${name}`,
  },
  [entry(page, `rename-${id}`, { name: 'name', label: 'account.keys.name', autocomplete: 'off', value: name, maxLength: MAX_NAME })],
)}</details>
<details${isOpen(`remove-${id}`)}><summary>${text('account.passkeys.remove')}</summary>
<p>${text('account.passkeys.remove-means')}</p>
${frame.form(page, '/passkeys', { action: `remove-${id}`, ...options }, frame.proof(page, `remove-${id}`, user))}</details>
</div></li>`
  }

  return {
    path: '/account/passkeys',
    name: 'ui.account.passkeys',
    for: 'user',
    async show(opened) {
      const page = requireUser(opened)
      const { text, principal } = page
      const [user, list] = await Promise.all([profile.get(principal.id), passkeys.list(principal)])
      const accepted = {
        rpID: list.rp_id,
        userID: list.user_handle,
        allAcceptedCredentialIDs: list.passkeys.map(({ credential_id }) => credential_id),
      }
      const add = passkeyForms.isOffered(page)
        ? html`<h2>${text('account.passkeys.add')}</h2>
${!user.mfa_enabled && html`<p>${text('account.passkeys.first')}</p>`}
${frame.form(page, '/passkeys', { action: 'begin', submit: 'account.passkeys.begin', returnTo: returnTo.of(page, page.query.return_to) }, frame.proof(page, 'begin', user))}
${needsScript(page)}`
        : html`<p class="hint">${text('account.passkeys.other-host')}</p>`
      return frame.view(
        page,
        '/passkeys',
        html`<p>${text('account.passkeys.intro')}</p>
${list.passkeys.length === 0 ? html`<p class="none">${text('account.passkeys.none')}</p>` : html`<ul class="rows">${list.passkeys.map((passkey) => row(page, user, passkey))}</ul>`}
${
  list.user_handle !== null &&
  html`<div data-accepted="${JSON.stringify(accepted)}"></div>
${passkeyForms.script}`
}
${add}`,
        { notices: { added: 'account.passkeys.added', renamed: 'account.passkeys.renamed', removed: 'account.passkeys.removed' } },
      )
    },
    submit: (page, fields) => submit(requireUser(page), fields),
  }
}
