/**
 * The login with a mailed code: the address, then the code, in the browser that has asked. And the page of the mailed link, which logs in where
 * it is opened.
 */
import type { FastifyInstance } from 'fastify'
import type { EmailLogins, LoggedInByMail } from '../accounts/email-login.service.ts'
import { type Html, html } from './html.ts'
import type { View } from './layout.ts'
import { defineLinkPage } from './link.pages.ts'
import { MARK, type PageCookies, STEP_SECONDS } from './page-cookies.ts'
import { type Fields, field, formNotice, LENGTHS, type Outcome, type Page, type PageKit, requireFields } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import { type ProofForms, proofOf } from './proof-of-work.ts'
import type { ReturnTo } from './return-to.ts'

export interface EmailLoginPagesDeps {
  emailLogins: EmailLogins
  proofForms: ProofForms
  sessions: PageSessions
  cookies: PageCookies
  /** Sent to all paths of the gateway. */
  wideCookies: PageCookies
  returnTo: ReturnTo
}

const PATH = '/login/email'

export const emailLoginPages =
  ({ emailLogins, proofForms, sessions, cookies, wideCookies, returnTo }: EmailLoginPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void => {
    const within = (page: Page, path: string) => returnTo.to(page.base + path, returnTo.of(page, page.query.return_to))

    kit.define(app, {
      path: PATH,
      name: 'ui.login.email',
      for: 'everyone',
      show(page) {
        if (!sessions.areReachable(page)) return { to: within(page, '/login') }
        const isOver = page.form.problem?.code === 'flow_invalid'
        return page.query.step === undefined || isOver || cookies.read(page, 'email-flow') === null ? addressForm(page) : codeForm(page)
      },
      async submit(page, fields) {
        if (!sessions.areReachable(page)) return { to: within(page, '/login') }
        return page.query.step === undefined ? submitAddress(page, fields) : submitCode(page, fields)
      },
    })

    async function addressForm(page: Page): Promise<View> {
      const proof = await proofForms.of(page, 'email_login')
      return {
        title: page.text('email-login.title'),
        isLoggedIn: false,
        body: html`${formNotice(page, { flow_invalid: 'email-login.over' })}
<p>${page.text('email-login.lead')}</p>
<form method="post" action="${within(page, PATH)}"${proof?.attributes}>
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: 'username', inputmode: 'email', maxLength: LENGTHS.email, isFocused: true })}
${rememberBox(page)}
${proof?.fields}
<button>${page.text('email-login.submit')}</button>
</form>
<p class="links"><a href="${within(page, '/login')}">${page.text('page.to-login')}</a></p>`,
      }
    }

    const codeForm = (page: Page): View => ({
      title: page.text('page.look-into-mail'),
      isLoggedIn: false,
      body: html`${formNotice(page, { invalid_code: 'email-login.wrong' })}
<p>${page.text('email-login.sent')}</p>
<form method="post">
${field(page, { name: 'code', label: 'field.mailed-code', autocomplete: 'one-time-code', inputmode: 'numeric', maxLength: LENGTHS.code, isFocused: true })}
<button>${page.text('login.submit')}</button>
</form>
<p class="hint">${page.text('page.no-mail')}</p>
<p class="links"><a href="${within(page, PATH)}">${page.text('email-login.again')}</a> <a href="${within(page, '/login')}">${page.text('page.to-login')}</a></p>`,
    })

    /** The answer is the same for every address. */
    async function submitAddress(page: Page, fields: Fields): Promise<Outcome> {
      const { flow_token } = await emailLogins.request(
        { ...requireFields(fields, { email: LENGTHS.email }), ...proofOf(fields) },
        page.context,
      )
      cookies.set(page, 'email-flow', flow_token + (fields.remember === undefined ? '' : MARK), STEP_SECONDS)
      return { to: within(page, `${PATH}?step=2`) }
    }

    async function submitCode(page: Page, fields: Fields): Promise<Outcome> {
      const kept = cookies.read(page, 'email-flow')
      if (kept === null) return { to: within(page, PATH) }
      const { code } = requireFields(fields, { code: LENGTHS.code })
      const [flow_token = '', mark] = kept.split(MARK)
      const isPersistent = mark !== undefined
      const input = { flow_token, code, session: 'cookie' as const, remember: isPersistent, ...sessions.deviceToken(page) }
      const entered = await emailLogins.byCode(input, page.context)
      cookies.clear(page, 'email-flow')
      return goOn(page, entered, isPersistent)
    }

    function goOn(page: Page, entered: LoggedInByMail, isPersistent: boolean): Outcome {
      if ('mfa_required' in entered) {
        cookies.set(page, 'mfa', entered.mfa_token + (isPersistent ? MARK : ''), STEP_SECONDS)
        return { to: within(page, '/factor') }
      }
      sessions.send(page, entered)
      wideCookies.clear(page, 'left')
      return { to: within(page, '/login?check=1') }
    }

    const rememberBox = ({ text, form }: Page): Html =>
      html`<label class="check"><input type="checkbox" name="remember" value="yes"${form.typed.remember !== undefined && html` checked`}> ${text('login.remember')}</label>`

    const link = {
      path: 'email-login',
      title: 'email-login.title',
      lead: 'email-login.link-lead',
      submit: 'email-login.link-submit',
      details: emailLogins.details,
      fields: rememberBox,
      async use(page: Page, token: string, { remember }: Fields) {
        if (!sessions.areReachable(page)) return { to: `${page.base}/login` }
        const input = { token, session: 'cookie' as const, remember: remember !== undefined, ...sessions.deviceToken(page) }
        return goOn(page, await emailLogins.byLink(input, page.context), input.remember)
      },
      help: ({ base, text }: Page) => html`<p class="links"><a href="${base}${PATH}">${text('email-login.again')}</a></p>`,
    } as const
    defineLinkPage(app, kit, link, cookies)
  }
