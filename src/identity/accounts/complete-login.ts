/** Completes a login or a registration: judges the country, remembers the device, and opens the session. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow } from '../../platform/db/database.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import type { CookieWish } from '../sessions/cookie-values.ts'
import type { Given, Opened, SessionOpener } from '../sessions/open-session.ts'
import type { UserView } from '../users/user-view.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Device } from './devices.repo.ts'
import type { Devices } from './devices.ts'
import type { LoginConfirmation } from './login-confirmation.service.ts'
import type { LoginCountries } from './login-countries.ts'

export interface Entry {
  /** RFC 8176: how the user has authenticated. */
  amr: string[]
  /** When the user has authenticated. Default: now. */
  authTime?: Date
  device: { token: string | undefined; device: Device | null }
  /** Null: the client gets tokens. */
  wish: CookieWish | null
}

export type Entered = Opened & { deviceToken: string }

/** A login from a new country that opens no session. Its credentials are used up, and `refusal` makes its answer after the commit. */
export interface Held {
  held: 'unconfirmed' | 'refused'
  user: User
}

export interface LoginCompletion {
  /** Opens the first session of a new user. */
  open(tx: AccountTransaction, user: User, entry: Entry, context: AuditContext): Promise<Entered>
  /** Opens the session of a login, and writes its audit row. @param user locked by this transaction */
  enter(tx: AccountTransaction, user: User, entry: Entry & { detail?: string }, context: AuditContext): Promise<Entered | Held>
  /** @param by whether the device is known. @returns country_refused or email_confirmation_required */
  refusal(held: Held, by: 'owner' | 'stranger', context: AuditContext): Promise<Problem>
  /** Makes the answer. Nothing in it can fail, so it may follow the commit. */
  answer(entered: Entered): Given & { user: UserView; device_token: string }
}

export interface LoginCompletionDeps {
  sessionOpener: SessionOpener
  devices: Devices
  countries: LoginCountries
  loginConfirmation: LoginConfirmation
  outbox: Outbox
}

export function createLoginCompletion(deps: LoginCompletionDeps): LoginCompletion {
  const { sessionOpener, devices, countries, loginConfirmation, outbox } = deps

  async function enterFrom(
    tx: AccountTransaction,
    user: User,
    { device, ...how }: Entry,
    isNewCountry: boolean,
    context: AuditContext,
  ): Promise<Entered> {
    const country = countries.countryOf(context)
    const { deviceId, deviceToken } = await devices.remember(tx.trx, user, device, { country, isNewCountry }, context)
    await countries.remember(tx.trx, user.id, context)
    return { ...(await sessionOpener.open(tx, user, { ...how, deviceId }, context)), deviceToken }
  }

  /** The credentials were right: the owner learns of it. */
  async function refuse(tx: AccountTransaction, user: User, detail: string | undefined, context: AuditContext): Promise<void> {
    await tx.record({ outcome: 'country_refused', userId: user.id, detail: detail ?? null })
    const country = countries.countryOf(context)
    const data = { ...noticeContextOf(await databaseNow(tx.trx), context), country }
    await outbox.post(tx.trx, { template: 'login_refused', data, to: user.email, userId: user.id })
  }

  return {
    open: (tx, user, entry, context) => enterFrom(tx, user, entry, false, context),
    async enter(tx, user, { detail, ...entry }, context) {
      const verdict = await countries.judge(tx.trx, user, entry.amr, context)
      if (verdict === 'refused') await refuse(tx, user, detail, context)
      if (verdict === 'refused' || verdict === 'unconfirmed') return { held: verdict, user }
      const current = await updateUser(tx.trx, user.id, { last_login_at: await databaseNow(tx.trx) })
      const entered = await enterFrom(tx, current, entry, verdict === 'new', context)
      await tx.record({ userId: user.id, sessionId: entered.session.id, detail: detail ?? null })
      if (verdict === 'new')
        await tx.record({ event: 'login_new_country', userId: user.id, sessionId: entered.session.id, detail: entered.session.country })
      return entered
    },
    async refusal({ held, user }, by, context) {
      if (held === 'unconfirmed') return loginConfirmation.request(user, by, context)
      return problem('country_refused', { cause: 'a login from a new country' })
    },
    answer: ({ deviceToken, ...opened }) => ({ ...sessionOpener.answer(opened), device_token: deviceToken }),
  }
}
