/** Somebody has shown all that is asked of them: the session opens, and the device is remembered. */
import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Opened, SessionOpener, TokenPair } from '../sessions/open-session.ts'
import type { UserView } from '../users/user-view.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Device } from './devices.repo.ts'
import type { Devices } from './devices.ts'

export interface Entry {
  /** RFC 8176: by what. */
  amr: string[]
  device: { token: string | undefined; device: Device | null }
  /** The audit row's. */
  event: string
  detail?: string
  context: AuditContext
}

export interface LoginCompletion {
  /** In the caller's transaction, which holds the user's lock. */
  enter(trx: Transaction, user: User, entry: Entry): Promise<Opened & { deviceToken: string }>
  /** After the commit. */
  answer(entered: Opened & { deviceToken: string }): Promise<TokenPair & { user: UserView; device_token: string }>
}

export function createLoginCompletion({
  sessionOpener,
  devices,
  audit,
}: {
  sessionOpener: SessionOpener
  devices: Devices
  audit: Audit
}): LoginCompletion {
  return {
    async enter(trx, user, { amr, device, event, detail, context }) {
      const current = await updateUser(trx, user.id, { last_login_at: await databaseNow(trx) })
      const { deviceId, deviceToken } = await devices.remember(trx, current, device, context)
      const opened = await sessionOpener.open(trx, current, { amr, deviceId }, context)
      await audit.record(trx, { event, outcome: 'success', userId: user.id, sessionId: opened.session.id, detail: detail ?? null, context })
      return { ...opened, deviceToken }
    },
    async answer({ deviceToken, ...opened }) {
      return { ...(await sessionOpener.answer(opened)), device_token: deviceToken }
    },
  }
}
