/** Operators end the sessions and API keys of a user. */

import { databaseNow } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import { revokeApiKey as markRevoked } from '../api-keys/api-keys.repo.ts'
import { lockSession } from '../sessions/sessions.repo.ts'
import type { User } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'
import type { ChangeUser } from './change-user.ts'

export function createSessionActions(update: ChangeUser['update']) {
  const endSessions = (ref: string, by: Actor): Promise<User> =>
    update(ref, { event: 'sessions_end' }, ({ revoke }, user) => revoke.allSessions(user.id, 'ended_by_admin'), by)

  async function endSession(ref: string, sessionId: string, by: Actor): Promise<void> {
    await update(
      ref,
      { event: 'session_end', sessionId },
      async ({ trx, revoke }, user) => {
        const session = await lockSession(trx, sessionId)
        if (session?.user_id !== user.id || session.revoked_at) throw problem('not_found')
        await revoke.session(user.id, sessionId, 'ended_by_admin')
      },
      by,
    )
  }

  async function revokeApiKey(ref: string, keyId: string, by: Actor): Promise<void> {
    await update(
      ref,
      { event: 'api_key_revoke', detail: keyId },
      async ({ trx, revoke }, user) => {
        if (!(await markRevoked(trx, user.id, keyId, await databaseNow(trx)))) throw problem('not_found')
        await revoke.credential(user.id, keyId)
      },
      by,
    )
  }

  return { endSessions, endSession, revokeApiKey }
}
