import type { Insertable } from 'kysely'
import type { Transaction } from '../db/database.ts'
import type { AuditLogTable } from '../db/tables.ts'
import { BY_KEY, type Personal } from './row.ts'

/** A single statement, because every login waits for it. */
export async function insertAuditRow(trx: Transaction, row: Insertable<AuditLogTable>, personal: Personal | null): Promise<void> {
  if (!personal) await trx.insertInto('audit_log').values(row).execute()
  else
    await trx
      .with('event', (cte) => cte.insertInto('audit_log').values(row).returning('id'))
      .insertInto('audit_personal')
      .columns(['event_id', 'salt', 'ip', 'user_agent'])
      .expression((from) =>
        from
          .selectFrom('event')
          .select((e) => ['id', e.val(personal.salt).as('salt'), e.val(personal.ip).as('ip'), e.val(personal.user_agent).as('user_agent')]),
      )
      .execute()
}

/** Covers actions of this user, by API key as well. Actions of other people on the account keep their personal data. */
export const deletePersonal = (trx: Transaction, userId: string) =>
  trx
    .deleteFrom('audit_personal')
    .using('audit_log')
    .whereRef('audit_personal.event_id', '=', 'audit_log.id')
    .where((e) =>
      e.or([
        e('actor', '=', `user:${userId}`),
        e.and([e('user_id', '=', userId), e.or([e('actor', 'is', null), e('actor', 'like', `${BY_KEY}%`)])]),
      ]),
    )
    .execute()
