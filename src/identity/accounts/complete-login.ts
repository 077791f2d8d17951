/** Completes a login or a registration: remembers the device, and opens the session. */
import type { AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow } from '../../platform/db/database.ts'
import type { AccountTransaction } from '../sessions/account-transaction.ts'
import type { CookieWish } from '../sessions/cookie-values.ts'
import type { Given, Opened, SessionOpener } from '../sessions/open-session.ts'
import type { UserView } from '../users/user-view.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Device } from './devices.repo.ts'
import type { Devices } from './devices.ts'

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

export interface LoginCompletion {
  /** Opens the first session of a new user. */
  open(tx: AccountTransaction, user: User, entry: Entry, context: AuditContext): Promise<Entered>
  /** Opens the session of a login, and writes its audit row. @param user locked by this transaction */
  enter(tx: AccountTransaction, user: User, entry: Entry & { detail?: string }, context: AuditContext): Promise<Entered>
  /** Makes the answer. Nothing in it can fail, so it may follow the commit. */
  answer(entered: Entered): Given & { user: UserView; device_token: string }
}

export function createLoginCompletion({ sessionOpener, devices }: { sessionOpener: SessionOpener; devices: Devices }): LoginCompletion {
  const open: LoginCompletion['open'] = async (tx, user, { device, ...how }, context) => {
    const { deviceId, deviceToken } = await devices.remember(tx.trx, user, device, context)
    return { ...(await sessionOpener.open(tx, user, { ...how, deviceId }, context)), deviceToken }
  }

  return {
    open,
    async enter(tx, user, { detail, ...entry }, context) {
      const current = await updateUser(tx.trx, user.id, { last_login_at: await databaseNow(tx.trx) })
      const entered = await open(tx, current, entry, context)
      await tx.record({ userId: user.id, sessionId: entered.session.id, detail: detail ?? null })
      return entered
    },
    answer: ({ deviceToken, ...opened }) => ({ ...sessionOpener.answer(opened), device_token: deviceToken }),
  }
}
