/** A new account. Where addresses are proven first, the reader is sent to the mailbox; otherwise the new user is logged in. */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../../platform/config/schema.ts'
import type { createRegister } from '../accounts/register.service.ts'
import { html } from './html.ts'
import { field, formNotice, LENGTHS, type PageKit, requireFields, showPassword } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import { type ProofForms, proofOf } from './proof-of-work.ts'
import type { ReturnTo } from './return-to.ts'

export interface RegisterPagesDeps {
  register: ReturnType<typeof createRegister>
  sessions: PageSessions
  returnTo: ReturnTo
  proofForms: ProofForms
  auth: Pick<Config['auth'], 'username' | 'registration' | 'password'>
}

export const registerPages =
  ({ register, sessions, returnTo, proofForms, auth }: RegisterPagesDeps) =>
  (app: FastifyInstance, kit: PageKit): void =>
    kit.define(app, {
      path: '/register',
      name: 'ui.register',
      for: 'everyone',
      async show(page) {
        const { text, base, query } = page
        const toLogin = returnTo.to(`${base}/login`, returnTo.of(page, query.return_to))
        if (auth.registration === 'closed' || !sessions.areReachable(page))
          return {
            title: text('register.title'),
            status: auth.registration === 'closed' ? 403 : 200,
            body: html`<p>${text(auth.registration === 'closed' ? 'register.closed' : 'login.needs-https')}</p>
<p class="links"><a href="${toLogin}">${text('page.to-login')}</a></p>`,
          }
        const proof = await proofForms.of(page, 'register')
        const hasName = auth.username !== 'off'
        return {
          title: text('register.title'),
          isLoggedIn: false,
          body: html`${formNotice(page)}
<form method="post"${proof?.attributes}>
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: hasName ? 'email' : 'username', maxLength: LENGTHS.email })}
${hasName && field(page, { name: 'username', label: 'field.username', autocomplete: 'username', hint: text('register.username-hint'), maxLength: LENGTHS.username, isOptional: auth.username === 'optional' })}
${field(page, { name: 'password', label: 'field.password', type: 'password', autocomplete: 'new-password', hint: text('page.password-hint', { minLength: auth.password.minLength }) })}
${showPassword(page, 'password')}
${proof?.fields}
<button>${text('register.submit')}</button>
</form>
<p class="links"><a href="${toLogin}">${text('register.login')}</a></p>`,
        }
      },
      async submit(page, fields) {
        const { base, query, context } = page
        if (!sessions.areReachable(page)) return { to: `${base}/register` }
        const { email, password } = requireFields(fields, { email: LENGTHS.email, password: LENGTHS.password })
        const name =
          auth.username === 'off'
            ? {}
            : auth.username === 'required' || fields.username !== undefined
              ? requireFields(fields, { username: LENGTHS.username })
              : {}
        const entered = await register({ ...name, email, password, ...proofOf(fields), session: 'cookie' }, context)
        if ('status' in entered) return { to: `${base}/verify?sent=1` }
        sessions.send(page, entered)
        return { to: returnTo.to(`${base}/login?check=1`, returnTo.of(page, query.return_to)) }
      },
    })
