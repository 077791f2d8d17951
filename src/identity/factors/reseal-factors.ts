/** Seals the seeds of second factors under the new secret key, after PORTCULLIS_SECRET_KEY was changed. */
import { type Db, inTransaction } from '../../platform/db/database.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Secrets, UnreadableSecret } from '../../platform/vault/secrets.ts'
import { findStaleFactors, updateSeal } from './factors.repo.ts'
import { sealFactor, unsealFactor } from './second-factor.ts'

const BATCH = 500

/** A seed that no configured key opens stays unchanged. Its owner gets 503, and is never admitted without the factor. */
export async function resealFactors({ db, secrets, logger }: { db: Db; secrets: Secrets; logger: Logger }): Promise<void> {
  let after = ''
  let resealed = 0
  let unreadable = 0
  for (;;) {
    const stale = await inTransaction(db, async (trx) => {
      const factors = await findStaleFactors(trx, secrets.keyId, after, BATCH)
      for (const factor of factors) {
        try {
          await updateSeal(trx, factor, sealFactor(secrets, factor, unsealFactor(secrets, factor)))
          resealed++
        } catch (error) {
          if (!(error instanceof UnreadableSecret)) throw error
          unreadable++
        }
      }
      return factors
    })
    if (!stale.length) break
    after = stale.at(-1)!.id
  }
  if (resealed || unreadable) logger.info({ resealed, unreadable }, 'seeds of second factors were sealed under the new secret key')
}
