/**
 * After an administrator has removed the second factor of a user, the password alone opens no session. The next login needs a mailed link as
 * well: the administrator may have been deceived by a person who knows the password. So does a login from a new country under
 * `auth.newCountry: factor`, for an account without a factor.
 */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import { listedDeviceName } from '../../platform/request/device-name.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import { detailsOf, type LinkDetails, type Links } from './links.ts'
import { type LoginCountries, UNKNOWN_COUNTRY } from './login-countries.ts'

export interface LoginConfirmation {
  /** Mails a link to a user whose password was right. @param by whether the device is known. @returns the refusal of the login */
  request(user: User, by: 'owner' | 'stranger', context: AuditContext): Promise<Problem>
  /** What the page shows. The link stays as it is. @throws link_invalid, rate_limited */
  details(token: string, context: RequestContext): Promise<LinkDetails>
  /** Opens no session: the user logs in afterwards. @throws link_invalid, rate_limited */
  confirm(token: string, context: RequestContext): Promise<void>
}

export interface LoginConfirmationDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  links: Links
  outbox: Outbox
  countries: LoginCountries
}

const PURPOSE = 'confirm_login'
const TTL_SECONDS = 1800

export function createLoginConfirmation({ db, accounts, limits, links, outbox, countries }: LoginConfirmationDeps): LoginConfirmation {
  async function request(user: User, by: 'owner' | 'stranger', context: AuditContext): Promise<Problem> {
    const mayMail = await limits.mail(user.email, PURPOSE, by)
    const outcome = 'email_confirmation_required'
    await accounts.transaction('login', context, async ({ trx, record }) => {
      await record({ outcome, userId: user.id })
      if (!mayMail) return
      const device = listedDeviceName(context.userAgent)
      const country = countries.toConfirm(context)
      const link = await links.issue(trx, { user, purpose: PURPOSE, ttlSeconds: TTL_SECONDS, sessionId: null, device, country })
      const data = { ...link, at: (await databaseNow(trx)).toISOString(), device, country: countries.countryOf(context) }
      const language = context.language ?? user.language
      await outbox.post(trx, { template: PURPOSE, data, to: user.email, language, userId: user.id, ttlSeconds: TTL_SECONDS })
    })
    return problem(outcome)
  }

  const details = (token: string, context: RequestContext): Promise<LinkDetails> =>
    limits.link(context.client, async () => {
      const found = await links.find(db, token, PURPOSE)
      if (!found) throw problem('link_invalid')
      const { country } = found.link
      return { ...detailsOf(found), country: country === UNKNOWN_COUNTRY ? null : country }
    })

  async function confirm(token: string, context: RequestContext): Promise<void> {
    await limits.link(context.client, async () => {
      const isConfirmed = await accounts.transaction('login_confirm', context, async ({ trx, record }) => {
        const redeemed = await links.redeem(trx, token, PURPOSE)
        await record({ outcome: redeemed ? 'success' : 'link_invalid', userId: redeemed?.owner.id ?? null })
        if (!redeemed) return false
        const { owner, link } = redeemed
        await updateUser(trx, owner.id, { must_confirm_login: false })
        if (link.country !== null) await countries.confirm(trx, owner.id, link.country)
        return true
      })
      if (!isConfirmed) throw problem('link_invalid', { cause: 'the link is unknown, used, expired, or outdated' })
    })
  }

  return { request, details, confirm: accounts.counted('login_confirm', confirm) }
}
