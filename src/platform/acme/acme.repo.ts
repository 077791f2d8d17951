import type { Db, Transaction } from '../db/database.ts'
import type { AcmeCertificateTable, AcmeChallengeTable } from '../db/tables.ts'

/** Which certificate: the ACME server, and the names as `namesOf` writes them. */
export interface CertificateId {
  directory_url: string
  names: string
}

export type OrderState = Pick<AcmeCertificateTable, 'names' | 'not_before' | 'not_after' | 'issued_at' | 'last_outcome' | 'retry_at'> & {
  failures: number
}

export type CertificateRow = CertificateId & { chain: string; key_sealed: string; not_before: Date; not_after: Date; issued_at: Date }

const STATE = ['names', 'not_before', 'not_after', 'issued_at', 'failures', 'last_outcome', 'retry_at'] as const

export const findAccountKey = (db: Db | Transaction, directoryUrl: string) =>
  db.selectFrom('acme_accounts').select('key_sealed').where('directory_url', '=', directoryUrl).executeTakeFirst()

export const saveAccountKey = (db: Db | Transaction, directory_url: string, key_sealed: string, created_at: Date) =>
  db
    .insertInto('acme_accounts')
    .values({ directory_url, key_sealed, created_at })
    .onConflict((c) => c.column('directory_url').doUpdateSet({ key_sealed, created_at }))
    .execute()

/** Without chains and keys: processes ask for it every few seconds. */
export const findOrderStates = (db: Db, directoryUrl: string): Promise<OrderState[]> =>
  db.selectFrom('acme_certificates').select(STATE).where('directory_url', '=', directoryUrl).execute()

export async function findCertificate(db: Db, { directory_url, names }: CertificateId): Promise<CertificateRow | null> {
  const row = await db
    .selectFrom('acme_certificates')
    .selectAll()
    .where('directory_url', '=', directory_url)
    .where('names', '=', names)
    .executeTakeFirst()
  return row?.chain ? (row as CertificateRow) : null
}

export const saveCertificate = (trx: Transaction, row: CertificateRow) => {
  const { directory_url, names, ...certificate } = row
  const values = { ...certificate, failures: 0, last_outcome: 'issued', retry_at: null }
  return trx
    .insertInto('acme_certificates')
    .values({ directory_url, names, ...values })
    .onConflict((c) => c.columns(['directory_url', 'names']).doUpdateSet(values))
    .execute()
}

/** The certificate of the row stays as it is. */
export const saveFailure = (db: Db, id: CertificateId, failure: { failures: number; last_outcome: string; retry_at: Date }) =>
  db
    .insertInto('acme_certificates')
    .values({ ...id, ...failure })
    .onConflict((c) => c.columns(['directory_url', 'names']).doUpdateSet(failure))
    .execute()

export const deleteCertificatesExpiredBefore = (trx: Transaction, before: Date) =>
  trx.deleteFrom('acme_certificates').where('not_after', '<', before).execute()

/** A gateway that was killed leaves rows behind, and the ACME server may give the same token again. */
export const insertChallenges = (db: Db, rows: readonly AcmeChallengeTable[]) =>
  db
    .insertInto('acme_challenges')
    .values(rows)
    .onConflict((conflict) =>
      conflict.column('token').doUpdateSet((row) => ({
        kind: row.ref('excluded.kind'),
        domain: row.ref('excluded.domain'),
        key_authorization: row.ref('excluded.key_authorization'),
        certificate_sealed: row.ref('excluded.certificate_sealed'),
        expires_at: row.ref('excluded.expires_at'),
      })),
    )
    .execute()

export const findChallenges = (db: Db, now: Date, limit: number): Promise<AcmeChallengeTable[]> =>
  db.selectFrom('acme_challenges').selectAll().where('expires_at', '>', now).orderBy('expires_at', 'desc').limit(limit).execute()

export const deleteChallenges = (db: Db, tokens: readonly string[], expiredBefore: Date) =>
  db
    .deleteFrom('acme_challenges')
    .where((row) => row.or([row('token', 'in', [...tokens, '']), row('expires_at', '<', expiredBefore)]))
    .execute()

export async function findSealedKeys(trx: Transaction) {
  const accounts = await trx.selectFrom('acme_accounts').select(['directory_url', 'key_sealed']).execute()
  const columns = ['directory_url', 'names', 'key_sealed'] as const
  const certificates = await trx.selectFrom('acme_certificates').select(columns).where('key_sealed', 'is not', null).execute()
  return { accounts, certificates }
}

export const updateAccountSeal = (trx: Transaction, directoryUrl: string, before: string, key_sealed: string) =>
  trx.updateTable('acme_accounts').set({ key_sealed }).where('directory_url', '=', directoryUrl).where('key_sealed', '=', before).execute()

export const updateCertificateSeal = (trx: Transaction, { directory_url, names }: CertificateId, before: string, key_sealed: string) =>
  trx
    .updateTable('acme_certificates')
    .set({ key_sealed })
    .where('directory_url', '=', directory_url)
    .where('names', '=', names)
    .where('key_sealed', '=', before)
    .execute()
