/** Seals the secrets of second factors under the new secret key, after PORTCULLIS_SECRET_KEY was changed. */
import { type Db, inTransaction } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { findStaleSecrets, updateSeal } from './factors.repo.ts'
import { sealBackupCodeKey, sealFactor, unsealBackupCodeKey, unsealFactor } from './second-factor.ts'

const BATCH = 500

const KINDS = [
  { table: 'totp_factors', seal: sealFactor, unseal: unsealFactor },
  { table: 'backup_code_keys', seal: sealBackupCodeKey, unseal: unsealBackupCodeKey },
] as const

/** A secret that no configured key opens stays unchanged. Its owner gets 503, and is never admitted without the factor. */
export async function resealFactors({ db, secrets, logger }: { db: Db; secrets: Secrets; logger: Logger }): Promise<void> {
  let resealed = 0
  let unreadable = 0
  for (const { table, seal, unseal } of KINDS) {
    let after = ''
    for (;;) {
      const stale = await inTransaction(db, async (trx) => {
        const rows = await findStaleSecrets(trx, table, secrets.keyId, after, BATCH)
        for (const row of rows) {
          try {
            await updateSeal(trx, table, row, seal(secrets, row, unseal(secrets, row)))
            resealed++
          } catch (error) {
            if (!(error instanceof UnreadableSecret)) throw error
            unreadable++
          }
        }
        return rows
      })
      if (!stale.length) break
      after = stale.at(-1)!.id
    }
  }
  if (resealed || unreadable) logger.info({ resealed, unreadable }, 'secrets of second factors were sealed under the new secret key')
}
