/** What several pages about a user share. */
import { type Html, html } from '../../identity/pages/html.ts'
import type { Page } from '../../identity/pages/page-kit.ts'
import type { User } from '../../identity/users/users.repo.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { badge } from './elements.ts'
import type { ConsoleParts } from './section.ts'

/** The user of the path. A username is no address of a page. @throws not_found */
export async function userOf({ request }: Pick<Page, 'request'>, { administration }: Pick<ConsoleParts, 'administration'>): Promise<User> {
  const { id } = request.params as { id: string }
  if (!isId(id)) throw problem('not_found')
  return administration.find(id)
}

/** What an operator should notice about an account. @param options.withAddress false where the address has a badge of its own */
export function stateBadges(user: User, text: Page['text'], { withAddress = true } = {}): Html[] {
  const badges: Html[] = []
  if (user.disabled_at) badges.push(badge(text('console.users-state-disabled'), 'bad'))
  if (withAddress && !user.email_verified_at) badges.push(badge(text('console.users-address-unverified')))
  if (user.mfa_enabled) badges.push(badge(text('console.factor'), 'good'))
  if (user.password_must_change) badges.push(badge(text('console.user-must-change')))
  if (user.must_confirm_login) badges.push(badge(text('console.user-must-confirm')))
  return badges.map((made) => html`${made} `)
}
