import { type Selectable, sql } from 'kysely'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { deleteOldest } from '../../platform/db/delete-oldest.ts'
import type { LoginFlowTable } from '../../platform/db/tables.ts'

export type LoginFlow = Selectable<LoginFlowTable>

/** What only the browser that has begun the sign-in can bring. */
export type FlowKey = Pick<LoginFlow, 'state_hash' | 'cookie_hash' | 'provider'>

export const insertFlow = (db: Db | Transaction, flow: LoginFlow) => db.insertInto('login_flows').values(flow).execute()

/** Of several calls at the same moment, one gets the flow. */
export const takeFlow = (db: Db, { state_hash, cookie_hash, provider }: FlowKey): Promise<LoginFlow | undefined> =>
  db
    .deleteFrom('login_flows')
    .where('state_hash', '=', state_hash)
    .where('cookie_hash', '=', cookie_hash)
    .where('provider', '=', provider)
    .where('expires_at', '>', sql<Date>`clock_timestamp()`)
    .returningAll()
    .executeTakeFirst()

/** Keeps the first answer. @returns false when the flow is unknown, has expired, or has an answer */
export async function keepAnswer(db: Db, { state_hash, cookie_hash, provider }: FlowKey, sealed: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('login_flows')
    .set({ answer_sealed: sealed })
    .where('state_hash', '=', state_hash)
    .where('cookie_hash', '=', cookie_hash)
    .where('provider', '=', provider)
    .where('answer_sealed', 'is', null)
    .where('expires_at', '>', sql<Date>`clock_timestamp()`)
    .executeTakeFirstOrThrow()
  return Number(numUpdatedRows) === 1
}

export const deleteExpiredFlows = (db: Db, now: Date, limit: number): Promise<number> =>
  deleteOldest(db, 'login_flows', 'expires_at', now, limit)
