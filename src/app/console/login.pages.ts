/**
 * The login of the console on the admin listener: password, then a code where a second factor is set up. A logged-in administrator
 * authenticates again here before a change.
 */
import type { FastifyInstance } from 'fastify'
import type { createLogin } from '../../identity/accounts/login.service.ts'
import type { createLoginMfa } from '../../identity/accounts/login-mfa.service.ts'
import type { createLogout } from '../../identity/accounts/logout.service.ts'
import type { createReauthentication } from '../../identity/accounts/reauthentication.service.ts'
import { html } from '../../identity/pages/html.ts'
import type { View } from '../../identity/pages/layout.ts'
import type { PageCookies } from '../../identity/pages/page-cookies.ts'
import {
  type Fields,
  field,
  formNotice,
  LENGTHS,
  type Outcome,
  type Page,
  type PageKit,
  requireFields,
  showPassword,
} from '../../identity/pages/page-kit.ts'
import type { PageSessions } from '../../identity/pages/page-sessions.ts'
import type { ReturnTo } from '../../identity/pages/return-to.ts'
import { findUserById } from '../../identity/users/users.repo.ts'
import type { Db } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { nameOf } from './guard.ts'

export interface ConsoleLoginDeps {
  db: Db
  login: ReturnType<typeof createLogin>
  loginMfa: ReturnType<typeof createLoginMfa>
  reauthenticate: ReturnType<typeof createReauthentication>
  logout: ReturnType<typeof createLogout>
  /** With the cookie of the console. */
  sessions: PageSessions
  cookies: PageCookies
  returnTo: ReturnTo
}

/** Longer than the step itself, so that the page can say that the step has expired. */
const STEP_SECONDS = 3600

export function defineLogin(app: FastifyInstance, kit: PageKit, deps: ConsoleLoginDeps): void {
  const { db, login, loginMfa, reauthenticate, logout, sessions, cookies, returnTo } = deps

  /** A page of the console. The login leads nowhere else. */
  function targetOf(page: Page): string {
    const { base } = page
    const target = returnTo.of(page, page.query.return_to)
    return target?.startsWith(`${base}/`) && !/^\/(?:login|factor|logout)(?:[/?]|$)/.test(target.slice(base.length)) ? target : base
  }
  const within = (page: Page, path: string) => returnTo.to(page.base + path, targetOf(page))

  /** @param answer of a service that was asked for a cookie */
  function enter(page: Page, answer: object): Outcome {
    sessions.send(page, answer)
    return { to: within(page, '/login?check=1') }
  }

  kit.define(app, {
    path: '/login',
    name: 'console.login',
    for: 'everyone',
    async show(page) {
      const { principal, query, form } = page
      if (query.check !== undefined && !form.problem) return principal ? { to: targetOf(page) } : cookiesBlocked(page)
      return principal ? again(page, principal.id) : loginForm(page)
    },
    submit: (page, fields) => (page.principal && fields.login === undefined ? submitAgain(page, fields) : submitLogin(page, fields)),
  })

  function loginForm(page: Page): View {
    const { text, query, form } = page
    sessions.clearStale(page)
    const done = { logout: 'console.logged-out', expired: 'console.factor-expired' } as const
    const key = query.done === 'logout' || query.done === 'expired' ? done[query.done] : undefined
    return {
      title: text('console.login'),
      body: html`${form.problem === null && key && html`<p class="notice" role="status">${text(key)}</p>`}${formNotice(page)}
<p class="lead">${text('console.login-lead')}</p>
<form method="post">
${field(page, { name: 'login', label: 'field.login', autocomplete: 'username', maxLength: LENGTHS.login })}
${field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'current-password' })}
${showPassword(page, 'password')}
<p class="actions"><button>${text('login.submit')}</button></p>
</form>`,
    }
  }

  async function submitLogin(page: Page, fields: Fields): Promise<Outcome> {
    const typed = requireFields(fields, { login: LENGTHS.login, password: LENGTHS.password })
    const entered = await login({ ...typed, session: 'console', ...sessions.deviceToken(page) }, page.context)
    if (!('mfa_required' in entered)) return enter(page, entered)
    cookies.set(page, 'mfa', entered.mfa_token, STEP_SECONDS)
    return { to: within(page, '/factor') }
  }

  const cookiesBlocked = (page: Page): View => ({
    title: page.text('console.login'),
    body: html`<p class="notice bad" role="alert">${page.text('console.cookies-blocked')}</p>
<p><a class="button" href="${within(page, '/login')}">${page.text('console.stale-login')}</a></p>`,
  })

  async function again(page: Page, userId: string): Promise<View> {
    const { text, base } = page
    const user = await findUserById(db, userId)
    if (!user) throw problem('token_revoked')
    return {
      title: text('console.again'),
      body: html`${formNotice(page)}<p>${text('console.again-lead')}</p>
<form method="post">
<label for="username">${text('console.user')}</label>
<input id="username" name="username" autocomplete="username" value="${nameOf(user)}" readonly>
${field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'current-password' })}
${user.mfa_enabled && field(page, { name: 'code', label: 'field.code', autocomplete: 'one-time-code', hint: text('console.code-hint'), maxLength: LENGTHS.code })}
${showPassword(page, 'password')}
<p class="actions"><button>${text('page.continue')}</button> <a class="button quiet" href="${base}">${text('console.cancel')}</a></p>
</form>
<p><a href="${base}/logout">${text('console.again-other')}</a></p>`,
    }
  }

  async function submitAgain(page: Page, fields: Fields): Promise<Outcome> {
    const { password } = requireFields(fields, { password: LENGTHS.password })
    const code = fields.code === undefined ? {} : requireFields(fields, { code: LENGTHS.code })
    return enter(page, await reauthenticate(page.principal!, { password, ...code, session: 'console' }, page.context))
  }

  kit.define(app, {
    path: '/factor',
    name: 'console.factor',
    for: 'everyone',
    show(page) {
      const { text, form } = page
      if (form.problem?.code === 'mfa_token_invalid' || cookies.read(page, 'mfa') === null)
        return { to: within(page, '/login?done=expired') }
      return {
        title: text('console.factor'),
        body: html`${formNotice(page)}
<form method="post">
${field(page, { name: 'code', label: 'field.code', autocomplete: 'one-time-code', hint: text('console.code-hint'), maxLength: LENGTHS.code })}
<p class="actions"><button>${text('login.submit')}</button> <a class="button quiet" href="${within(page, '/login')}">${text('console.cancel')}</a></p>
</form>`,
      }
    },
    async submit(page, fields) {
      const mfa_token = cookies.read(page, 'mfa')
      if (mfa_token === null) return { to: within(page, '/login?done=expired') }
      const { code } = requireFields(fields, { code: LENGTHS.code })
      const entered = await loginMfa({ mfa_token, code, session: 'console', ...sessions.deviceToken(page) }, page.context)
      cookies.clear(page, 'mfa')
      return enter(page, entered)
    },
  })

  // a GET shows a button, since links of other sites can begin a GET
  kit.define(app, {
    path: '/logout',
    name: 'console.logout',
    for: 'everyone',
    show(page) {
      const { text, base, principal } = page
      if (!principal && !page.form.problem) return { to: `${base}/login` }
      return {
        title: text('console.logout'),
        body: html`${formNotice(page)}<form method="post"><p class="actions"><button>${text('page.log-out')}</button> <a class="button quiet" href="${base}">${text('console.cancel')}</a></p></form>`,
      }
    },
    async submit(page) {
      const { principal, context, reply, base } = page
      if (principal) await logout({ sessionId: principal.sessionId, userId: principal.id }, 'session', context)
      sessions.clear(page)
      // pages of the session must not come back from the cache
      reply.header('clear-site-data', '"cache"')
      return { to: `${base}/login?done=logout` }
    },
  })
}
