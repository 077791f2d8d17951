/**
 * Protects signing keys at rest: seals the private part, and authenticates the public part with a MAC. A canary detects a wrong secret key.
 */
import type { Transaction } from '../../platform/db/database.ts'
import { type SecretLocation, type Secrets, UnreadableSecret, WrongSecretKey } from '../../platform/vault/secrets.ts'
import { findCanary, findKeys, type KeyRow, saveCanary, updateSealed } from './keyring.repo.ts'

type PublicPart = Pick<KeyRow, 'kid' | 'algorithm' | 'public_jwk'>

export interface KeySealing {
  /** @throws WrongSecretKey */
  checkCanary(trx: Transaction): Promise<void>
  seal(part: PublicPart, privateBytes: Buffer): Pick<KeyRow, 'private_sealed' | 'public_mac'>
  /** The private part. @throws WrongSecretKey, UnreadableSecret */
  open(row: KeyRow): Buffer
  /** Seals a key that is still under the previous secret key. @throws as `open` does */
  sealAgain(trx: Transaction, row: KeyRow): Promise<void>
  /** @returns whether the public part is unchanged */
  isOurs(row: KeyRow): boolean
}

const CANARY: SecretLocation = { table: 'secret_canary', row: '1', column: 'sealed', owner: '' }
const locationOf = (kid: string): SecretLocation => ({ table: 'signing_keys', row: kid, column: 'private_sealed', owner: '' })
const publicText = (part: PublicPart) => `${part.kid}|${part.algorithm}|${part.public_jwk}`

export function createKeySealing(secrets: Secrets): KeySealing {
  async function checkCanary(trx: Transaction): Promise<void> {
    const row = await findCanary(trx)
    if (!row && (await findKeys(trx)).length > 0)
      throw new WrongSecretKey('the database holds signing keys but no canary: this program did not create them')
    try {
      if (row && secrets.open(CANARY, row.sealed).toString() !== 'portcullis') throw new UnreadableSecret('canary')
    } catch {
      throw new WrongSecretKey('PORTCULLIS_SECRET_KEY is not the key that this database was set up with')
    }
    if (!row || secrets.isStale(row.sealed)) await saveCanary(trx, secrets.seal(CANARY, Buffer.from('portcullis')))
  }

  const isOurs = (row: KeyRow) => secrets.verifyMac('signing_keys', publicText(row), row.public_mac)

  function verifyPublic(row: KeyRow): void {
    if (!isOurs(row)) throw new WrongSecretKey(`the public part of signing key ${row.kid} was changed`)
  }

  const seal = (part: PublicPart, privateBytes: Buffer) => ({
    private_sealed: secrets.seal(locationOf(part.kid), privateBytes),
    public_mac: secrets.mac('signing_keys', publicText(part)),
  })

  const openSealed = (row: KeyRow) => secrets.open(locationOf(row.kid), row.private_sealed)

  return {
    checkCanary,
    seal,
    isOurs,
    open(row) {
      verifyPublic(row)
      return openSealed(row)
    },
    async sealAgain(trx, row) {
      verifyPublic(row)
      if (secrets.isStale(row.private_sealed)) await updateSealed(trx, row.kid, seal(row, openSealed(row)))
    },
  }
}
