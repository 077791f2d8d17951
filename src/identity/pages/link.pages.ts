/**
 * The pages that mailed links lead to. A link holds its token in the fragment, which reaches no server and no log. The first step sends the
 * token: a script does so, or the reader pastes the link. The second step shows which account the link is of. The link is used only when
 * the reader presses the button, since mail scanners open every link.
 */
import type { FastifyInstance } from 'fastify'
import { countryName } from '../../platform/geo/country-codes.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { deviceIn } from '../../platform/texts/device-text.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { createEmailVerification } from '../accounts/email-verification.service.ts'
import type { LinkDetails } from '../accounts/links.ts'
import type { LoginConfirmation } from '../accounts/login-confirmation.service.ts'
import type { createRecovery } from '../accounts/recovery.service.ts'
import { type Html, html } from './html.ts'
import type { View } from './layout.ts'
import type { PageCookies } from './page-cookies.ts'
import { type Fields, field, formNotice, LENGTHS, type Outcome, type Page, type PageKit, requireFields, showPassword } from './page-kit.ts'

export interface LinkPagesDeps {
  verification: Pick<ReturnType<typeof createEmailVerification>, 'verify' | 'details' | 'requestByAddress'>
  recovery: Pick<ReturnType<typeof createRecovery>, 'details' | 'reset'>
  loginConfirmation: Pick<LoginConfirmation, 'details' | 'confirm'>
  cookies: PageCookies
  /** `auth.password.minLength` */
  minLength: number
}

export interface LinkPage {
  path: 'verify' | 'reset' | 'confirm-login' | 'email-login'
  title: TextKey
  lead: TextKey
  submit: TextKey
  details(token: string, context: RequestContext): Promise<LinkDetails>
  /** The fields of the second step. */
  fields(page: Page, details: LinkDetails): Html | null
  /** @returns where the reader goes on. Null: to a page that says what was done */
  use(page: Page, token: string, fields: Fields): Promise<Outcome | null>
  /** Below the first step. */
  help?(page: Page): Html
  /** A further form of this page. @returns null for the fields of another form */
  other?(page: Page, fields: Fields): Promise<Outcome> | null
}

/** How long the token of an opened link is kept between its two steps. */
const KEPT_SECONDS = 1800

export const linkPages =
  ({ verification, recovery, loginConfirmation, cookies, minLength }: LinkPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void => {
    const password = (page: Page) =>
      html`${field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'current-password', hint: page.text('verify.password-hint') })}
${showPassword(page, 'password')}`

    const pages: LinkPage[] = [
      {
        path: 'verify',
        title: 'verify.title',
        lead: 'verify.lead',
        submit: 'verify.submit',
        details: verification.details,
        // the session that asked for the link needs no password
        fields: (page) => (page.principal?.kind === 'user' && page.form.problem === null ? null : password(page)),
        async use({ principal, context }, token, { password }) {
          const caller = principal?.kind === 'user' ? principal : null
          await verification.verify({ token, ...(password !== undefined && { password }) }, caller, context)
          return null
        },
        help: (page) => html`<h2>${page.text('verify.no-mail')}</h2>
<form method="post">
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: 'email', maxLength: LENGTHS.email })}
<button class="quiet">${page.text('verify.again')}</button>
</form>`,
        other: ({ base, context }, { email }) =>
          email === undefined ? null : verification.requestByAddress(email, context).then(() => ({ to: `${base}/verify?sent=1` })),
      },
      {
        path: 'reset',
        title: 'reset.title',
        lead: 'reset.lead',
        submit: 'reset.submit',
        details: recovery.details,
        fields: (page, { can_keep_api_keys }) =>
          html`${field(page, { name: 'new_password', label: 'field.new-password', type: 'password', autocomplete: 'new-password', hint: page.text('page.password-hint', { minLength }) })}
${showPassword(page, 'new_password')}
${can_keep_api_keys && html`<label class="check"><input type="checkbox" name="keep_api_keys" value="yes"> ${page.text('reset.keep-api-keys')}</label>`}`,
        async use({ context }, token, fields) {
          const { new_password } = requireFields(fields, { new_password: LENGTHS.password })
          await recovery.reset({ token, new_password, keep_api_keys: fields.keep_api_keys !== undefined }, context)
          return null
        },
      },
      {
        path: 'confirm-login',
        title: 'confirm.title',
        lead: 'confirm.lead',
        submit: 'confirm.submit',
        details: loginConfirmation.details,
        fields: () => null,
        async use({ context }, token) {
          await loginConfirmation.confirm(token, context)
          return null
        },
      },
    ]
    for (const page of pages) defineLinkPage(app, kit, page, cookies)
  }

/** Both steps of the page of a link. */
export function defineLinkPage(app: FastifyInstance, kit: PageKit, link: LinkPage, cookies: PageCookies): void {
  const { path, details, use, other } = link

  /** The first step: the token. */
  const first = (page: Page): View => ({
    title: page.text(page.query.sent === undefined ? link.title : 'page.look-into-mail'),
    status: page.form.problem?.status ?? 200,
    body: html`${formNotice(page)}
${page.query.sent !== undefined && html`<p>${page.text('verify.sent')}</p>`}
<form method="post" data-takes-token>
${field(page, { name: 'link', label: 'field.link', autocomplete: 'off', hint: page.text('page.link-hint') })}
<button>${page.text('page.continue')}</button>
</form>
${link.help?.(page)}
<p class="links"><a href="${page.base}/login">${page.text('page.to-login')}</a></p>`,
  })

  /** The second step: what the link is of, and its button. */
  function second(page: Page, found: LinkDetails): View {
    const { text } = page
    return {
      title: text(link.title),
      body: html`${formNotice(page, { invalid_credentials: 'again.wrong-password' })}
<p>${text(link.lead)}</p>
<p class="hint">${askedText(page, found)}</p>
${found.country && html`<p class="hint">${text('page.country', { country: countryName(found.country, page.language.code) })}</p>`}
<form method="post">
<label for="username">${text('field.account')}</label>
<input id="username" name="username" autocomplete="username" value="${found.username ?? found.email}" readonly>
${link.fields(page, found)}
<button>${text(link.submit)}</button>
</form>`,
    }
  }

  kit.define(app, {
    path: `/${path}`,
    name: `ui.${path}`,
    for: 'everyone',
    async show(page) {
      const { query, text, base } = page
      if (query.done !== undefined)
        return {
          title: text(link.title),
          body: html`<p>${text(`${path}.done`)}</p>
<p><a class="button" href="${base}/account">${text('page.continue')}</a></p>`,
        }
      const token = query.step === undefined ? null : cookies.read(page, path)
      if (token === null) return first(page)
      try {
        return second(page, await details(token, page.context))
      } catch (error) {
        // the link was used elsewhere, or has expired, since the first step
        if (!(error instanceof Problem) || error.code !== 'link_invalid') throw error
        return first({ ...page, form: { ...page.form, problem: error } })
      }
    },
    async submit(page, fields) {
      const { base, query, principal, context } = page
      const otherwise = other?.(page, fields)
      if (otherwise) return otherwise
      if (query.step === undefined) {
        const token = tokenIn(requireFields(fields, { link: 2048 }).link)
        await details(token, context)
        cookies.set(page, path, token, KEPT_SECONDS)
        // a fragment of its own: without JavaScript the browser would keep the token in the address bar
        return { to: `${base}/${path}?step=2#content` }
      }
      const token = cookies.read(page, path)
      if (token === null) throw problem('link_invalid', { cause: 'the cookie with the token of the link has expired' })
      const onward = await use(page, token, fields)
      cookies.clear(page, path)
      if (onward) return onward
      return { to: principal ? `${base}/${path}?done=1` : `${base}/login?done=${path}` }
    },
  })
}

/** @param pasted a link of a mail, or its token alone. @throws link_invalid */
export function tokenIn(pasted: string): string {
  const token = /(?:^|[#&]token=)([A-Za-z0-9_-]{20,512})\s*$/.exec(pasted.trim())?.[1]
  if (token === undefined) throw problem('link_invalid', { cause: 'this is neither a link nor a token' })
  return token
}

function askedText({ language }: Page, { requested_at, device, email }: LinkDetails): string {
  const when = new Intl.DateTimeFormat(language.code, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' }).format(
    new Date(requested_at),
  )
  const values = { when: `${when} UTC`, email }
  return device === null
    ? language.text('page.link-asked', values)
    : language.text('page.link-asked-from', { ...values, device: deviceIn(device, language) })
}
