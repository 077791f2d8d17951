/** The logins at providers that log in to the account. */
import { problem } from '../../../platform/lib/errors.ts'
import { requireFactor } from '../../access/access-policy.ts'
import type { createProfile } from '../../accounts/profile.service.ts'
import type { FlowCookies } from '../../providers/flow-cookies.ts'
import type { createLinkedLogins, LinkedLoginView } from '../../providers/linked-logins.service.ts'
import type { Provider } from '../../providers/provider.ts'
import type { Providers } from '../../providers/providers.ts'
import type { SignIn } from '../../providers/sign-in.service.ts'
import type { OwnUserView } from '../../users/user-view.ts'
import { type Html, html } from '../html.ts'
import type { Fields, Outcome, PageDefinition } from '../page-kit.ts'
import { leadOut } from '../provider.pages.ts'
import { type AccountFrame, type AccountPage, proofOf, requireUser, timeOf } from './account-frame.ts'

export interface LoginsDeps {
  frame: AccountFrame
  /** The path of all pages. */
  base: string
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  providers: Providers
  linkedLogins: ReturnType<typeof createLinkedLogins>
  signIn: Pick<SignIn, 'link'>
  flowCookies: FlowCookies
}

export function loginsPage({ frame, base, profile, providers, linkedLogins, signIn, flowCookies }: LoginsDeps): PageDefinition {
  /** Each form of the page has an action of its own: `link-google`. @throws validation_failed for another action */
  async function submit(page: AccountPage, fields: Fields): Promise<Outcome> {
    const [, kind, id] = /^(link|unlink)-([a-z0-9-]+)$/.exec(fields.action ?? '') ?? []
    if (kind === undefined || id === undefined) throw problem('validation_failed', { cause: 'the form has another action' })
    const { current_password: password, code } = proofOf(fields)
    if (kind === 'unlink') {
      await linkedLogins.unlink(page.principal, id, { password, code }, page.context)
      return { to: frame.to('/logins', 'unlinked') }
    }
    const provider = providers.get(id)
    const { url, flow } = await signIn.link(provider, page.principal, { password, code }, null, page.context)
    for (const cookie of flowCookies.toSet(page.request.raw, page.client, provider, flow)) page.reply.header('set-cookie', cookie)
    return leadOut(page, provider, url)
  }

  function formOf(page: AccountPage, user: OwnUserView, kind: 'link' | 'unlink', { id, label }: Pick<Provider, 'id' | 'label'>): Html {
    const action = `${kind}-${id}`
    const submit = kind === 'link' ? 'account.logins.link-now' : 'account.logins.unlink-now'
    const options = { action, submit, button: kind === 'link' ? 'quiet small' : 'danger', label: `${page.text(submit)}: ${label}` } as const
    return frame.form(page, '/logins', options, frame.proof(page, action, user))
  }

  function linkedRow(page: AccountPage, user: OwnUserView, login: LinkedLoginView): Html {
    const { text, language } = page
    return html`<li class="row"><div>
<p class="name">${login.label}</p>
${login.email !== null && html`<p class="hint">${login.email}</p>`}
<p class="hint">${text('account.logins.used')} ${timeOf(language, login.last_used_at)}</p>
<details${page.form.typed.action === `unlink-${login.provider}` && html` open`}><summary>${text('account.logins.unlink', { provider: login.label })}</summary>
<p>${text('account.logins.unlink-means', { provider: login.label })}</p>
${formOf(page, user, 'unlink', { id: login.provider, label: login.label })}
</details>
</div></li>`
  }

  const linkForm = (page: AccountPage, user: OwnUserView, provider: Provider): Html =>
    html`<li class="row"><p class="name">${provider.label}</p>
${formOf(page, user, 'link', provider)}</li>`

  return {
    path: '/account/logins',
    name: 'ui.account.logins',
    for: 'user',
    async show(opened) {
      const page = requireUser(opened)
      requireFactor(page.principal)
      const { text, principal } = page
      const [user, linked] = await Promise.all([profile.get(principal.id), linkedLogins.list(principal.id)])
      const free = providers.list.filter(({ id }) => !linked.some(({ provider }) => provider === id))
      return frame.view(
        page,
        '/logins',
        html`<p>${text('account.logins.intro')}</p>
${linked.length === 0 ? html`<p class="none">${text('account.logins.none')}</p>` : html`<ul class="rows">${linked.map((login) => linkedRow(page, user, login))}</ul>`}
${!user.has_password && html`<p class="hint">${text('account.logins.no-password')} <a href="${base}/account/password">${text('account.password.title')}</a></p>`}
${
  free.length > 0 &&
  html`<h2>${text('account.logins.link')}</h2>
<ul class="rows">${free.map((provider) => linkForm(page, user, provider))}</ul>`
}`,
        { notices: { linked: 'account.logins.linked', unlinked: 'account.logins.unlinked' } },
      )
    },
    submit: (page, fields) => submit(requireUser(page), fields),
  }
}
