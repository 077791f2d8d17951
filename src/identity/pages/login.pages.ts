/**
 * The login: password, then a code where a second factor is set up. A logged-in user proves again who they are. After a login the page
 * looks whether the browser sends the cookie back.
 */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../../platform/config/schema.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { Principal } from '../access/principal.ts'
import type { FactorStep } from '../accounts/factor-step.ts'
import type { createLogin } from '../accounts/login.service.ts'
import type { createLoginMfa } from '../accounts/login-mfa.service.ts'
import type { PasskeyLogin } from '../accounts/passkey-login.service.ts'
import type { createProfile } from '../accounts/profile.service.ts'
import type { createReauthentication } from '../accounts/reauthentication.service.ts'
import { readAssertion } from '../factors/passkey-answers.ts'
import type { createLinkedLogins } from '../providers/linked-logins.service.ts'
import type { Provider } from '../providers/provider.ts'
import type { Providers } from '../providers/providers.ts'
import { type Html, html } from './html.ts'
import type { View } from './layout.ts'
import { MARK, type PageCookies, STEP_SECONDS } from './page-cookies.ts'
import {
  type Fields,
  field,
  formNotice,
  LENGTHS,
  notice,
  type Outcome,
  type Page,
  type PageKit,
  requireFields,
  showPassword,
} from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import { answerIn, type PasskeyForms } from './passkey-form.ts'
import { type ProofForms, proofOf } from './proof-of-work.ts'
import { providerButtons } from './provider.pages.ts'
import type { ReturnTo } from './return-to.ts'

export interface LoginPagesDeps {
  login: ReturnType<typeof createLogin>
  loginMfa: ReturnType<typeof createLoginMfa>
  reauthenticate: ReturnType<typeof createReauthentication>
  profile: Pick<ReturnType<typeof createProfile>, 'get'>
  linkedLogins: Pick<ReturnType<typeof createLinkedLogins>, 'list'>
  providers: Providers
  sessions: PageSessions
  cookies: PageCookies
  /** Sent to all paths of the gateway. */
  wideCookies: PageCookies
  returnTo: ReturnTo
  factorStep: FactorStep
  /** Null where passkeys are not enabled. */
  passkeys: { login: PasskeyLogin; forms: PasskeyForms } | null
  auth: Pick<Config['auth'], 'username' | 'registration' | 'emailVerification' | 'emailLogin' | 'prefix' | 'browser'>
  proofForms: ProofForms
}

/** What was done before, by the value of the parameter `done`. */
const DONE: Readonly<Record<string, TextKey>> = {
  verify: 'verify.done',
  reset: 'reset.done',
  'confirm-login': 'confirm-login.done',
  logout: 'logout.done',
  expired: 'factor.expired',
}

export const loginPages =
  ({
    login,
    loginMfa,
    reauthenticate,
    profile,
    linkedLogins,
    providers,
    sessions,
    cookies,
    wideCookies,
    returnTo,
    auth,
    factorStep,
    passkeys,
    proofForms,
  }: LoginPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void => {
    const { supportUrl } = auth.browser.brand
    const optionsUrl = `${auth.prefix}/passkeys/login/options`
    const targetOf = (page: Page) => returnTo.of(page, page.query.return_to)
    const within = (page: Page, path: string) => returnTo.to(page.base + path, targetOf(page))
    const startOf = (page: Page, { id }: Provider, query = '') =>
      returnTo.to(`${auth.prefix}/providers/${id}/start${query}`, targetOf(page))

    kit.define(app, {
      path: '/login',
      name: 'ui.login',
      for: 'everyone',
      async show(page) {
        if (!sessions.areReachable(page)) return needsHttps(page)
        const { principal } = page
        if (page.query.check !== undefined && !page.form.problem) return principal ? arrived(page) : cookiesBlocked(page)
        const isLogin = page.form.typed.login !== undefined
        if (principal?.kind === 'user' && !isLogin) return again(page, principal)
        sessions.clearStale(page)
        return loginForm(page)
      },
      async submit(page, fields) {
        if (!sessions.areReachable(page)) return { to: within(page, '/login') }
        const isKnown = page.principal?.kind === 'user'
        if (fields.credential !== undefined) return isKnown ? passkeyAgain(page, fields) : passkeyLogin(page, fields)
        return isKnown && fields.login === undefined ? submitAgain(page, fields) : submitLogin(page, fields)
      },
    })

    async function loginForm(page: Page): Promise<View> {
      const { text, query, form } = page
      const begun = passkeys?.forms.isOffered(page) ? await passkeys.login.optionsForLogin() : null
      const proof = await proofForms.of(page, 'login')
      const done = query.done === undefined || !Object.hasOwn(DONE, query.done) ? undefined : DONE[query.done]
      const isWrong = form.problem?.code === 'invalid_credentials'
      const or = html`<p class="or">${text('provider.or')}</p>`
      // without JavaScript the form of a passkey stays hidden, and its "or" with it
      const hasOtherWays = providers.list.length > 0 || auth.emailLogin === 'on'
      return {
        title: text('login.title'),
        isLoggedIn: false,
        body: html`${form.problem === null && done !== undefined && notice(text(done))}
${formNotice(page)}
${isWrong && auth.emailVerification === 'required' && html`<p class="hint">${text('login.unproven')} <a href="${page.base}/verify">${text('verify.again')}</a></p>`}
<form method="post"${proof?.attributes}>
${field(page, { name: 'login', label: auth.username === 'off' ? 'field.email' : 'field.login', autocomplete: begun ? 'username webauthn' : 'username', inputmode: auth.username === 'off' ? 'email' : 'text', maxLength: LENGTHS.login, isFocused: !isWrong })}
${field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'current-password', isFocused: isWrong })}
${showPassword(page, 'password')}
<label class="check"><input type="checkbox" name="remember" value="yes"${form.typed.remember !== undefined && html` checked`}> ${text('login.remember')}</label>
${proof?.fields}
<button>${text('login.submit')}</button>
</form>
${hasOtherWays && or}
${begun && passkeys!.forms.form(page, begun, { submit: 'passkey.log-in', isAutofilled: form.problem === null, renewUrl: optionsUrl, fields: [!hasOtherWays && or, html`<input type="hidden" name="remember">`] })}
${emailLoginLink(page)}
${providerButtons(page, providers, (provider) => startOf(page, provider))}
<p class="links"><a href="${page.base}/forgot">${text('login.forgot')}</a>${
          auth.registration === 'open' && html` <a href="${within(page, '/register')}">${text('login.register')}</a>`
        }</p>`,
      }
    }

    async function passkeyLogin(page: Page, fields: Fields): Promise<Outcome> {
      const choice = { session: 'cookie' as const, remember: fields.remember !== undefined, ...sessions.deviceToken(page) }
      sessions.send(page, await passkeyAnswers().login({ ...answerIn(fields, readAssertion), ...choice }, page.context))
      wideCookies.clear(page, 'left')
      return { to: within(page, '/login?check=1') }
    }

    async function passkeyAgain(page: Page, fields: Fields): Promise<Outcome> {
      const input = { passkey: answerIn(fields, readAssertion), session: 'cookie' as const }
      sessions.send(page, await reauthenticate(page.principal!, input, page.context))
      return sessions.leadOn(page, targetOf(page) ?? `${page.base}/account`)
    }

    /** @throws passkey_refused where passkeys are not enabled */
    function passkeyAnswers(): PasskeyLogin {
      if (!passkeys) throw problem('passkey_refused', { cause: 'passkeys are not enabled' })
      return passkeys.login
    }

    const emailLoginLink = (page: Page) =>
      auth.emailLogin === 'on' &&
      html`<p class="way"><a class="button quiet" href="${within(page, '/login/email')}">${page.text('email-login.instead')}</a></p>`

    async function submitLogin(page: Page, fields: Fields): Promise<Outcome> {
      const typed = requireFields(fields, { login: LENGTHS.login, password: LENGTHS.password })
      const remember = fields.remember !== undefined
      const entered = await login(
        { ...typed, ...proofOf(fields), session: 'cookie', remember, ...sessions.deviceToken(page) },
        page.context,
      )
      if ('mfa_required' in entered) {
        cookies.set(page, 'mfa', entered.mfa_token + (remember ? MARK : ''), STEP_SECONDS)
        return { to: within(page, '/factor') }
      }
      sessions.send(page, entered)
      wideCookies.clear(page, 'left')
      return { to: within(page, '/login?check=1') }
    }

    /** The cookie works. */
    function arrived(page: Page): Outcome {
      const target = targetOf(page)
      if (page.principal!.mustChangePassword) return { to: returnTo.to(`${page.base}/account/password`, target) }
      return sessions.leadOn(page, target ?? `${page.base}/account`)
    }

    function cookiesBlocked(page: Page): View {
      sessions.clearStale(page)
      return onlyText(
        page,
        'login.cookies-title',
        html`<p>${page.text('login.cookies-blocked')}</p>
<p><a class="button" href="${within(page, '/login')}">${page.text('login.again')}</a></p>`,
      )
    }

    const needsHttps = (page: Page): View =>
      onlyText(page, 'login.title', html`<p class="notice bad">${page.text('login.needs-https')}</p>`)

    const onlyText = (page: Page, title: TextKey, body: Html): View => ({ title: page.text(title), isLoggedIn: false, body })

    /** A logged-in user proves again who they are. */
    async function again(page: Page, principal: Principal): Promise<View> {
      const { text, base } = page
      const { id: userId } = principal
      const begun = passkeys?.forms.isOffered(page) ? await passkeys.login.optionsAgain(principal).catch(withoutPasskey) : null
      const { username, email, mfa_enabled, has_password } = await profile.get(userId)
      if (!has_password && !mfa_enabled) return againWithProvider(page, userId)
      return {
        title: text('again.title'),
        body: html`${formNotice(page, { invalid_credentials: 'again.wrong-password' })}
<p>${text(has_password ? 'again.lead' : 'again.code-lead')}</p>
<form method="post">
<label for="username">${text('field.account')}</label>
<input id="username" name="username" autocomplete="username" value="${username ?? email}" readonly>
${has_password && field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'current-password', isFocused: true })}
${has_password && showPassword(page, 'password')}
${mfa_enabled && field(page, { name: 'code', label: 'field.code', autocomplete: 'one-time-code', hint: text('factor.hint'), maxLength: LENGTHS.code })}
<button>${text('page.continue')}</button>
</form>
${begun && html`<p class="or">${text('provider.or')}</p>`}
${begun && passkeys!.forms.form(page, begun, { submit: 'passkey.confirm', renewUrl: optionsUrl })}
<p class="links"><a href="${targetOf(page) ?? `${base}/account`}">${text('page.back')}</a> <a href="${base}/logout">${text('again.other')}</a></p>`,
      }
    }

    /** A user without a password and without a factor shows the login of a provider. */
    async function againWithProvider(page: Page, userId: string): Promise<View> {
      const { text, base } = page
      const linked = await linkedLogins.list(userId)
      const able = providers.list.filter(({ id, provesFreshness }) => provesFreshness && linked.some(({ provider }) => provider === id))
      return {
        title: text('again.title'),
        body: html`${formNotice(page)}
${
  able.length > 0 &&
  html`<p>${text('again.choose')}</p>
<ul class="providers">${able.map(
    (provider) =>
      html`<li><a class="button" href="${startOf(page, provider, '?reauthenticate=1')}">${text('provider.confirm-with', { provider: provider.label })}</a></li>`,
  )}</ul>`
}
${emailLoginLink(page)}
<p>${text('again.no-password')}</p>
<p><a class="button quiet" href="${base}/forgot">${text('again.set-password')}</a></p>
<p class="links"><a href="${targetOf(page) ?? `${base}/account`}">${text('page.back')}</a> <a href="${base}/logout">${text('again.other')}</a></p>`,
      }
    }

    async function submitAgain(page: Page, fields: Fields): Promise<Outcome> {
      const { has_password } = await profile.get(page.principal!.id)
      const password = has_password ? requireFields(fields, { password: LENGTHS.password }).password : undefined
      const { code } = fields.code === undefined ? {} : requireFields(fields, { code: LENGTHS.code })
      const input = { ...(password !== undefined && { password }), ...(code !== undefined && { code }), session: 'cookie' as const }
      sessions.send(page, await reauthenticate(page.principal!, input, page.context))
      return sessions.leadOn(page, targetOf(page) ?? `${page.base}/account`)
    }

    kit.define(app, {
      path: '/factor',
      name: 'ui.factor',
      for: 'everyone',
      async show(page) {
        const { text, query, form } = page
        const kept = cookies.read(page, 'mfa')
        if (form.problem?.code === 'mfa_token_invalid' || kept === null) return { to: within(page, '/login?done=expired') }
        const [mfaToken = ''] = kept.split(MARK)
        const methods = await factorStep(mfaToken, page.context).catch(expired)
        if (methods === null) return { to: within(page, '/login?done=expired') }
        const hasApp = methods.includes('totp')
        const isBackup = query.backup !== undefined || !hasApp
        const withPasskey = methods.includes('passkey') && passkeys?.forms.isOffered(page)
        const begun = withPasskey ? await passkeys!.login.optionsForFactor(mfaToken, page.context).catch(withoutPasskey) : null
        return {
          title: text('factor.title'),
          isLoggedIn: false,
          body: html`${formNotice(page)}
${begun && passkeys!.forms.form(page, begun, { submit: 'passkey.use', isMain: true })}
${begun && html`<p class="or">${text('provider.or')}</p>`}
<p>${text(isBackup ? 'factor.backup-lead' : 'factor.lead')}</p>
<form method="post">
${field(page, { name: 'code', label: isBackup ? 'field.backup-code' : 'field.code', autocomplete: isBackup ? 'off' : 'one-time-code', inputmode: isBackup ? 'text' : 'numeric', maxLength: LENGTHS.code, isFocused: begun === null })}
<button${begun && html` class="quiet"`}>${text('login.submit')}</button>
</form>
<p class="links">${
            !hasApp
              ? null
              : isBackup
                ? html`<a href="${within(page, '/factor')}">${text('factor.app')}</a>`
                : html`<a href="${within(page, '/factor?backup=1')}">${text('factor.backup')}</a>`
          } <a href="${within(page, '/login')}">${text('factor.restart')}</a>${supportUrl !== undefined && html` <a href="${supportUrl}">${text('factor.lost')}</a>`}</p>`,
        }
      },
      async submit(page, fields) {
        if (!sessions.areReachable(page)) return { to: within(page, '/login') }
        const kept = cookies.read(page, 'mfa')
        if (kept === null) return { to: within(page, '/login?done=expired') }
        const [mfa_token = '', mark] = kept.split(MARK)
        const shown =
          fields.credential === undefined ? requireFields(fields, { code: LENGTHS.code }) : { passkey: answerIn(fields, readAssertion) }
        const input = { mfa_token, session: 'cookie' as const, remember: mark !== undefined, ...sessions.deviceToken(page) }
        sessions.send(page, await loginMfa({ ...input, ...shown }, page.context))
        cookies.clear(page, 'mfa')
        return { to: within(page, '/login?check=1') }
      },
    })
  }

/** The page offers no passkey where the user has none. */
function withoutPasskey(error: unknown): null {
  if (error instanceof Problem && error.code === 'passkey_refused') return null
  throw error
}

function expired(error: unknown): null {
  if (error instanceof Problem && error.code === 'mfa_token_invalid') return null
  throw error
}
