/** Private keys of ACME at rest: sealed under PORTCULLIS_SECRET_KEY, each bound to its row. */
import { type Db, inTransaction } from '../db/database.ts'
import type { Logger } from '../telemetry/logger.ts'
import { type SecretLocation, type Secrets, UnreadableSecret } from '../vault/secrets.ts'
import { type CertificateId, findSealedKeys, updateAccountSeal, updateCertificateSeal } from './acme.repo.ts'

export const accountKeyAt = (directoryUrl: string): SecretLocation => ({
  table: 'acme_accounts',
  row: directoryUrl,
  column: 'key_sealed',
  owner: '',
})
export const certificateKeyAt = ({ directory_url, names }: CertificateId): SecretLocation => ({
  table: 'acme_certificates',
  row: `${directory_url} ${names}`,
  column: 'key_sealed',
  owner: '',
})
export const challengeKeyAt = (token: string): SecretLocation => ({
  table: 'acme_challenges',
  row: token,
  column: 'certificate_sealed',
  owner: '',
})

/** @returns null for a secret that no configured key opens: a new one must be made */
export function openOrNull(secrets: Secrets, location: SecretLocation, sealed: string): string | null {
  try {
    return secrets.open(location, sealed).toString()
  } catch (error) {
    if (error instanceof UnreadableSecret) return null
    throw error
  }
}

/** Seals the keys under the new secret key, after PORTCULLIS_SECRET_KEY was changed. What no key opens stays, and is replaced by the next order. */
export async function resealAcmeKeys({ db, secrets, logger }: { db: Db; secrets: Secrets; logger: Logger }): Promise<void> {
  let resealed = 0
  let unreadable = 0
  const sealAgain = (location: SecretLocation, sealed: string): string | null => {
    const plain = secrets.isStale(sealed) ? openOrNull(secrets, location, sealed) : null
    if (plain !== null) resealed++
    else if (secrets.isStale(sealed)) unreadable++
    return plain === null ? null : secrets.seal(location, Buffer.from(plain))
  }
  await inTransaction(db, async (trx) => {
    const { accounts, certificates } = await findSealedKeys(trx)
    for (const { directory_url, key_sealed } of accounts) {
      const next = sealAgain(accountKeyAt(directory_url), key_sealed)
      if (next) await updateAccountSeal(trx, directory_url, key_sealed, next)
    }
    for (const row of certificates) {
      const next = sealAgain(certificateKeyAt(row), row.key_sealed!)
      if (next) await updateCertificateSeal(trx, row, row.key_sealed!, next)
    }
  })
  if (resealed || unreadable) logger.info({ resealed, unreadable }, 'keys of certificates were sealed under the new secret key')
}
