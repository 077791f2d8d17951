import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Transaction } from '../../platform/db/database.ts'
import { noticeContextOf } from '../../platform/mail/notice-context.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { User } from '../users/users.repo.ts'
import type { Shown } from './second-factor.ts'

/** Mails the user that a backup code was used: the codes may have been stolen. */
export async function notifyOfBackupCode(
  trx: Transaction,
  outbox: Outbox,
  { user, shown, now, context }: { user: User; shown: Shown | null; now: Date; context: AuditContext },
): Promise<void> {
  if (shown?.type !== 'backup') return
  const data = { ...noticeContextOf(now, context), left: shown.left }
  await outbox.post(trx, { template: 'backup_code_used', data, to: user.email, userId: user.id })
}
