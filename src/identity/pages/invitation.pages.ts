/**
 * An invited person opens the link of the mail. The first page takes the token out of the fragment, the second shows the invitation and the
 * ways to accept it.
 */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../../platform/config/schema.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import type { createInvitations, InvitationDetails } from '../accounts/invitations.ts'
import { linkHash } from '../accounts/links.ts'
import type { Providers } from '../providers/providers.ts'
import { canonicalEmail } from '../users/canonical-login.ts'
import { html } from './html.ts'
import type { View } from './layout.ts'
import { tokenIn } from './link.pages.ts'
import type { PageCookies } from './page-cookies.ts'
import { type Fields, field, formNotice, LENGTHS, type Outcome, type Page, type PageKit, requireFields, showPassword } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import { providerButtons } from './provider.pages.ts'

export interface InvitationPagesDeps {
  invitations: ReturnType<typeof createInvitations>
  providers: Providers
  sessions: PageSessions
  /** Sent to all paths of the gateway: a sign-in with a provider needs the token, too. */
  cookies: PageCookies
  auth: Pick<Config['auth'], 'username' | 'password' | 'prefix'>
  serviceName: string
}

const KEPT_SECONDS = 1800

export function invitationPages({ invitations, providers, sessions, cookies, auth, serviceName }: InvitationPagesDeps) {
  const tokenOf = (page: Page): string | null => cookies.read(page, 'invitation')

  /** The step of the token. */
  const first = (page: Page): View => ({
    title: page.text('invitation.title'),
    status: page.form.problem?.status ?? 200,
    isLoggedIn: page.principal !== null,
    body: html`${formNotice(page)}
<form method="post" data-takes-token>
${field(page, { name: 'link', label: 'field.link', autocomplete: 'off', hint: page.text('page.link-hint') })}
<button>${page.text('page.continue')}</button>
</form>`,
  })

  const ownPath = ({ base }: Page) => `${base}/invitation?step=2`

  /** The address has an account: its user accepts. */
  function forAccount(page: Page, { email }: InvitationDetails): View {
    const { text, base, principal } = page
    const login = `${base}/login?return_to=${encodeURIComponent(ownPath(page))}`
    return {
      title: text('invitation.title'),
      isLoggedIn: principal !== null,
      body: html`${formNotice(page, { invitation_invalid: 'error.invitation_invalid' })}
<p>${text('invitation.for', { email })}</p>
${
  principal === null
    ? html`<p>${text('invitation.has-account')}</p>
<p><a class="button" href="${login}">${text('login.submit')}</a></p>`
    : canonicalEmail(principal.email ?? '') !== canonicalEmail(email)
      ? html`<p>${text('invitation.other-account', { email })}</p>`
      : html`<p>${text('invitation.accept-lead', { name: principal.email ?? '' })}</p>
<form method="post"><input type="hidden" name="action" value="accept"><button>${text('invitation.accept')}</button></form>`
}`,
    }
  }

  function forNewAccount(page: Page, { email }: InvitationDetails): View {
    const { text } = page
    return {
      title: text('invitation.title'),
      isLoggedIn: false,
      body: html`${formNotice(page)}
<p>${text('invitation.lead', { service: serviceName })}</p>
<p class="hint">${text('invitation.for', { email })}</p>
${providerButtons(page, providers, ({ id }) => `${auth.prefix}/providers/${id}/start`)}
${providers.list.length > 0 && html`<p class="or">${text('provider.or')}</p>`}
<form method="post">
<input type="hidden" name="action" value="create">
${
  auth.username === 'off'
    ? html`<input name="username" autocomplete="username" value="${email}" hidden>`
    : field(page, {
        name: 'username',
        label: 'field.username',
        autocomplete: 'username',
        hint: text('register.username-hint'),
        maxLength: LENGTHS.username,
        isOptional: auth.username === 'optional',
        isFocused: true,
      })
}
${field(page, {
  name: 'password',
  label: 'field.password',
  type: 'password',
  autocomplete: 'new-password',
  hint: text('page.password-hint', { minLength: auth.password.minLength }),
})}
${showPassword(page, 'password')}
<button>${text('invitation.submit')}</button>
</form>`,
    }
  }

  async function show(page: Page): Promise<View | Outcome> {
    const { text, base } = page
    if (page.query.done !== undefined)
      return {
        title: text('invitation.title'),
        body: html`<p>${text('invitation.done')}</p><p><a class="button" href="${base}/account">${text('page.continue')}</a></p>`,
      }
    const token = page.query.step === undefined ? null : tokenOf(page)
    if (token === null) return first(page)
    try {
      const found = await invitations.details(token, page.context)
      return found.has_account ? forAccount(page, found) : forNewAccount(page, found)
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'invitation_invalid') throw error
      return first({ ...page, form: { ...page.form, problem: error } })
    }
  }

  async function submit(page: Page, fields: Fields): Promise<Outcome> {
    const { base, context, principal } = page
    if (page.query.step === undefined) {
      const token = tokenIn(requireFields(fields, { link: 2048 }).link)
      await invitations.details(token, context)
      cookies.set(page, 'invitation', token, KEPT_SECONDS)
      return { to: `${ownPath(page)}#content` }
    }
    const token = tokenOf(page)
    if (token === null) throw problem('invitation_invalid', { cause: 'the cookie with the token has expired' })
    if (fields.action === 'accept') {
      if (principal?.kind !== 'user') return { to: `${base}/login?return_to=${encodeURIComponent(ownPath(page))}` }
      await invitations.acceptFor(principal, token, context)
      cookies.clear(page, 'invitation')
      return { to: `${base}/invitation?done=1` }
    }
    const { password } = requireFields(fields, { password: LENGTHS.password })
    const username = auth.username === 'off' || fields.username === undefined ? {} : { username: fields.username }
    const accepted = await invitations.accept(token, { ...username, password, session: 'cookie', remember: false }, context)
    cookies.clear(page, 'invitation')
    sessions.send(page, accepted)
    return { to: `${base}/login?check=1` }
  }

  return {
    pages: (app: FastifyInstance, kit: PageKit): void =>
      kit.define(app, { path: '/invitation', name: 'ui.invitation', for: 'everyone', show, submit }),
    /** For a sign-in with a provider that accepts the invitation. */
    tokenHashOf(page: Page): Buffer | null {
      const token = tokenOf(page)
      return token === null ? null : linkHash(token)
    },
  }
}
