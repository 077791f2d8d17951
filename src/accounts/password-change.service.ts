/** A new password: every session ends, and the caller gets a new one. */
import { insertAudit, type RequestOrigin } from '../audit/audit.repo.ts'
import type { Config } from '../config/schema.ts'
import { type Db, inTransaction } from '../db/database.ts'
import { problem } from '../errors.ts'
import type { Principal } from '../gateway/principal.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { SessionEnding } from '../sessions/ending.ts'
import type { SessionOpening } from '../sessions/opening.ts'
import type { Revocations } from '../sessions/revocations.ts'
import { lockCaller, type PasswordCheck } from './password-check.ts'
import { field, passwordFault } from './password-policy.ts'
import type { Passwords } from './passwords.ts'
import { findUserById, updateUser } from './users.repo.ts'

export interface PasswordChangeDeps {
  db: Db
  config: Config
  passwords: Passwords
  passwordCheck: PasswordCheck
  ending: SessionEnding
  opening: SessionOpening
  revocations: Revocations
}

export function createPasswordChange({ db, config, passwords, passwordCheck, ending, opening, revocations }: PasswordChangeDeps) {
  return async (
    principal: Principal,
    input: { current_password: string; new_password: string },
    client: ClientOrigin,
    origin: RequestOrigin,
  ) => {
    const checked = await passwordCheck(principal.id, input.current_password, client)
    const fault = passwordFault(input.new_password, config.auth.password, [checked.username, checked.email])
    if (fault) throw problem('validation_failed', { errors: field('new_password', fault) })
    if (input.new_password === input.current_password)
      throw problem('validation_failed', { errors: field('new_password', 'must differ from the current one') })
    const password_hash = await passwords.hash(input.new_password)

    const { revocation, ...opened } = await inTransaction(db, async (trx) => {
      const { id: userId } = await lockCaller(trx, principal, checked.password_hash)
      await updateUser(trx, userId, { password_hash, password_must_change: false })
      const ended = await ending.endAllSessions(trx, userId, 'password_change')
      const user = (await findUserById(trx, userId))!
      const session = await opening.open(trx, user, origin)
      await insertAudit(trx, { event: 'password_change', outcome: 'success', userId, sessionId: session.session.id, origin })
      return { revocation: ended, user, ...session }
    })
    await revocations.announce(revocation)
    return opening.pair(opened.user, opened.session, opened.refreshToken)
  }
}
