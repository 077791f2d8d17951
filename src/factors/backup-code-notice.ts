import type { RequestOrigin } from '../audit/audit.ts'
import type { Transaction } from '../db/database.ts'
import { occasionOf } from '../mail/occasion.ts'
import type { Outbox } from '../mail/outbox.ts'
import type { User } from '../users/users.repo.ts'
import type { Shown } from './second-factor.ts'

/** Whoever has found the sheet with the codes is not to use one unseen, wherever it is shown. */
export async function tellOfBackupCode(
  trx: Transaction,
  outbox: Outbox,
  { user, shown, now, origin }: { user: User; shown: Shown | null; now: Date; origin: RequestOrigin },
): Promise<void> {
  if (shown?.type !== 'backup') return
  const data = { ...occasionOf(now, origin), left: shown.left }
  await outbox.post(trx, { template: 'backup_code_used', data, to: user.email, userId: user.id })
}
