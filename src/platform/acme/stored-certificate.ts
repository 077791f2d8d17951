/** Finds the certificate of the listener among those that ACME has brought. */
import type { Db } from '../db/database.ts'
import type { Secrets } from '../vault/secrets.ts'
import { findCertificate, findOrderStates } from './acme.repo.ts'
import { certificateKeyAt, openOrNull } from './acme-keys.ts'
import { type AcmeSettings, certificateIdOf, directoryOf, domainsOf } from './acme-settings.ts'

export interface StoredCertificate {
  /** Another certificate has another version. */
  version: string
  /** PEM. */
  chain: string
  key: string
  /** Milliseconds since the epoch. */
  notAfter: number
}

/**
 * The certificate for exactly these names. Until there is one, for example after the names were changed: the one that covers most of them.
 * @param inUse the version in use @param unreadable called when no secret key of this process opens a private key @returns null when nothing better is there
 */
export async function findStoredCertificate(
  { db, secrets }: { db: Db; secrets: Secrets },
  acme: AcmeSettings,
  inUse: string | null,
  unreadable: (names: string) => void,
): Promise<StoredCertificate | null> {
  const directory_url = directoryOf(acme)
  const wanted = new Set(domainsOf(acme))
  const exact = certificateIdOf(acme).names
  const covered = (names: string) =>
    names === exact ? Number.POSITIVE_INFINITY : names.split(',').filter((name) => wanted.has(name)).length
  const candidates = (await findOrderStates(db, directory_url))
    .filter(({ names, issued_at }) => issued_at !== null && covered(names) > 0)
    .sort((a, b) => covered(b.names) - covered(a.names) || b.issued_at!.getTime() - a.issued_at!.getTime())
  for (const { names, issued_at } of candidates) {
    const version = `${names} ${issued_at!.getTime()}`
    if (version === inUse) return null
    const row = await findCertificate(db, { directory_url, names })
    const key = row && openOrNull(secrets, certificateKeyAt(row), row.key_sealed)
    if (row && key !== null) return { version, chain: row.chain, key, notAfter: row.not_after.getTime() }
    // the next order replaces it, if the process that orders cannot read it either
    if (row) unreadable(names)
  }
  return null
}
