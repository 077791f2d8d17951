/** Locks what an operator's action needs, and checks that the operator may still act. */

import type { Config } from '../../platform/config/schema.ts'
import type { Transaction } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { requireStepUp, STEP_UP_SECONDS } from '../credentials/require-step-up.ts'
import { assertStillValid } from '../sessions/lock-caller.ts'
import { lockSession } from '../sessions/sessions.repo.ts'
import { lockUser, lockUserForShare, type User } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'

/**
 * Locks the user of this id, and the operator, whose session must still be valid. Users are locked in the order of their ids, since two
 * operators may change each other. An administrator is under the step-up rule: `auth.admin.maxAuthAgeSeconds` for an action on others, and
 * the limit of users for an action on the own account. An operator at the command line has no session, and holds the database already.
 * @throws token_revoked, reauthentication_required
 */
export type LockForAction = (trx: Transaction, by: Actor, id?: string) => Promise<User | undefined>

export interface LockForActionDeps {
  clock: Clock
  admin: Config['auth']['admin']
}

export function createLockForAction({ clock, admin }: LockForActionDeps): LockForAction {
  return async (trx, { principal }, id) => {
    const ids = [id, principal?.id].filter((userId) => userId !== undefined)
    const locked = new Map<string, User | undefined>()
    for (const userId of [...new Set(ids)].sort()) locked.set(userId, await (userId === id ? lockUser : lockUserForShare)(trx, userId))
    if (principal) {
      const operator = assertStillValid(principal, locked.get(principal.id), await lockSession(trx, principal.sessionId))
      const maxAgeSeconds = id === principal.id ? Math.min(STEP_UP_SECONDS, admin.maxAuthAgeSeconds) : admin.maxAuthAgeSeconds
      requireStepUp(principal, operator, clock.now(), maxAgeSeconds)
    }
    return id === undefined ? undefined : locked.get(id)
  }
}
