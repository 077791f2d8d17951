/**
 * Who may open the pages of the console. Reading needs the role `admin`, and the second factor where the administrator has one. A page with
 * `submit` also needs a recent login: otherwise the administrator authenticates again, and comes back to the form.
 */
import { html } from '../../identity/pages/html.ts'
import type { View } from '../../identity/pages/layout.ts'
import type { Outcome, Page, PageDefinition, PageKit } from '../../identity/pages/page-kit.ts'
import { findUserById, type User } from '../../identity/users/users.repo.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { errorView } from './elements.ts'
import type { FramedView } from './frame.ts'

export interface GuardDeps {
  kit: PageKit
  db: Db
  clock: Clock
  maxAuthAgeSeconds: number
  /** @returns the page where the administrator authenticates again, and which then leads to `target` */
  loginFor(target: string): string
  logoutPath: string
  /** The page of the own account, where passwords and factors are changed. */
  accountUrl: string
}

/** @returns a kit whose pages belong to a section, and open only for administrators */
export type Guard = (section: string) => PageKit

export function createGuard({ kit, db, clock, maxAuthAgeSeconds, loginFor, logoutPath, accountUrl }: GuardDeps): Guard {
  const isFresh = ({ principal }: Page) => clock.now() / 1000 - principal!.authenticatedAt <= maxAuthAgeSeconds

  /** @returns the administrator; or the page that is shown instead */
  async function admit(page: Page, isChange: boolean): Promise<User | Outcome> {
    const { principal, text, request } = page
    if (principal?.kind !== 'user') throw problem('token_missing')
    const admin = await findUserById(db, principal.id)
    if (!admin || admin.disabled_at) throw problem('token_revoked')
    if (!principal.roles.has('admin'))
      return { title: text('console.forbidden'), status: 403, body: refusal(page, text('console.forbidden-why', { name: nameOf(admin) })) }
    if (principal.mustChangePassword)
      return { title: text('console.must-change'), status: 403, body: refusal(page, text('console.must-change-why'), 'password') }
    if (admin.mfa_enabled && !principal.hasFactor) return { to: loginFor(request.url) }
    if (principal.owesFactor)
      return { title: text('console.owes-factor'), status: 403, body: refusal(page, text('console.owes-factor-why'), 'factors') }
    if (isChange && request.method !== 'POST' && !isFresh(page)) return { to: loginFor(request.url) }
    return admin
  }

  const refusal = ({ text }: Page, why: string, leadsTo?: string) => html`<p>${why}</p>
${leadsTo !== undefined && html`<p><a class="button" href="${accountUrl}/${leadsTo}">${text('console.to-account')}</a></p>`}
<form method="post" action="${logoutPath}"><button class="quiet">${text('page.log-out')}</button></form>`

  return (section) => {
    const framed = (outcome: Outcome, admin: User): { to: string } | FramedView =>
      'to' in outcome ? outcome : { ...outcome, frame: { section, admin: nameOf(admin) } }

    function guarded({ show, submit, ...definition }: PageDefinition): PageDefinition {
      const isChange = submit !== undefined
      return {
        ...definition,
        async show(page) {
          const admin = await admit(page, isChange)
          if (!('id' in admin)) return admin
          const isStale = page.form.problem?.code === 'reauthentication_required'
          if (isStale && Object.keys(page.form.typed).length === 0) return { to: loginFor(page.request.url) }
          try {
            const outcome = await show(isStale ? { ...page, form: { ...page.form, problem: null } } : page)
            return framed(isStale ? withLogin(outcome, page) : outcome, admin)
          } catch (error) {
            if (!(error instanceof Problem)) throw error
            page.context.error = error
            return framed(errorView(page, error), admin)
          }
        },
        ...(submit && {
          async submit(page, fields) {
            const admin = await admit(page, true)
            return 'id' in admin ? framed(await submit(page, fields), admin) : admin
          },
        }),
      }
    }

    return { ...kit, define: (app, page) => kit.define(app, guarded(page)) }
  }

  /** The form keeps what was typed. The login opens in another tab, after which the form can be sent again. */
  function withLogin(outcome: Outcome, { text, request }: Page): Outcome {
    if ('to' in outcome) return outcome
    const notice = html`<p class="notice bad" role="alert">${text('console.stale')} <a href="${loginFor(request.url)}" target="_blank" rel="noopener">${text('console.stale-login')}</a></p>`
    return { ...outcome, body: html`${notice}${outcome.body}` } satisfies View
  }
}

export const nameOf = ({ username, email }: Pick<User, 'username' | 'email'>): string => username ?? email
