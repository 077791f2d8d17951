/**
 * After a failover the new database may have lost the last transactions. What this process remembers as ended is ended there again: the
 * refresh token of a session whose logout was lost would work otherwise.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { COMMAND_LINE } from '../../platform/audit/audit.ts'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { lockUser } from '../users/users.repo.ts'
import type { Accounts, AccountTransaction } from './account-transaction.ts'
import type { Revocation } from './revocations.repo.ts'

export interface EndAgainDeps {
  db: Db
  accounts: Accounts
  logger: Logger
}

const BATCH = 1000
const ATTEMPTS = 60
const RETRY_MS = 1000
const ACTOR = 'failover'

/** @returns ends the sessions, API keys and tokens of these revocations, where the database has them as not ended. Never rejects */
export function createEndAgain({ db, accounts, logger }: EndAgainDeps): (remembered: readonly Revocation[]) => Promise<void> {
  const change = (event: string, work: (tx: AccountTransaction) => Promise<void>) => accounts.transaction(event, COMMAND_LINE, work)

  async function endSessions(ids: string[]): Promise<void> {
    const living = await db
      .selectFrom('sessions')
      .select(['id', 'user_id'])
      .where('id', 'in', ids)
      .where('revoked_at', 'is', null)
      .execute()
    for (const { id, user_id } of living)
      await change('session_end', async (tx) => {
        const { session } = await tx.lockUserAndSession(user_id, id)
        // another gateway may have been faster
        if (!session || session.revoked_at) return
        await tx.revoke.session(user_id, id, ACTOR)
        await tx.record({ userId: user_id, sessionId: id, actor: ACTOR })
      })
  }

  async function endKeys(ids: string[]): Promise<void> {
    const living = await db
      .selectFrom('api_keys')
      .select(['id', 'user_id'])
      .where('id', 'in', ids)
      .where('revoked_at', 'is', null)
      .execute()
    for (const { id, user_id } of living)
      await change('api_key_revoke', async ({ trx, record }) => {
        await lockUser(trx, user_id)
        const at = await databaseNow(trx)
        const { numUpdatedRows } = await trx
          .updateTable('api_keys')
          .set({ revoked_at: at })
          .where('id', '=', id)
          .where('revoked_at', 'is', null)
          .executeTakeFirst()
        if (numUpdatedRows > 0n) await record({ userId: user_id, detail: id, actor: ACTOR })
      })
  }

  /** Which change was lost is not known, so all sessions of the user end. */
  async function endUsers(epochs: ReadonlyMap<string, number>): Promise<void> {
    const found = await db
      .selectFrom('users')
      .select(['id', 'token_epoch'])
      .where('id', 'in', [...epochs.keys()])
      .execute()
    for (const { id } of found.filter((user) => user.token_epoch < epochs.get(user.id)!))
      await change('session_end', async ({ trx, revoke, record }) => {
        const user = await lockUser(trx, id)
        if (!user || user.token_epoch >= epochs.get(id)!) return
        await raiseEpoch(trx, id, epochs.get(id)! - 1)
        await revoke.allSessions(id, ACTOR)
        await record({ userId: id, actor: ACTOR })
      })
    for (const [id, epoch] of epochs)
      await db.updateTable('clients').set({ token_epoch: epoch }).where('id', '=', id).where('token_epoch', '<', epoch).execute()
  }

  const raiseEpoch = (trx: Transaction, id: string, token_epoch: number) =>
    trx.updateTable('users').set({ token_epoch }).where('id', '=', id).where('token_epoch', '<', token_epoch).execute()

  async function endAll(remembered: readonly Revocation[]): Promise<void> {
    for (let first = 0; first < remembered.length; first += BATCH) {
      const batch = remembered.slice(first, first + BATCH)
      const ids = batch.flatMap((revocation) => ('sessionId' in revocation ? [revocation.sessionId] : []))
      const epochs = new Map(
        batch.flatMap((revocation) => ('userId' in revocation ? [[revocation.userId, revocation.minEpoch] as const] : [])),
      )
      if (ids.length > 0) {
        await endSessions(ids)
        await endKeys(ids)
      }
      if (epochs.size > 0) await endUsers(epochs)
    }
  }

  return async (remembered) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await endAll(remembered)
      } catch (error) {
        if (attempt === ATTEMPTS) {
          logger.error({ reason: 'end_again_failed', cause: String(error) }, 'what a failover has lost could not be ended again')
          return
        }
        await sleep(RETRY_MS, undefined, { ref: false })
      }
    }
  }
}
