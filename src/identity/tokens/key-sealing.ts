/**
 * Protects signing keys at rest: seals the private part, and authenticates the public part with a MAC. A canary detects a wrong secret key.
 */
import type { Db, Transaction } from '../../platform/db/database.ts'
import { type SecretLocation, type Secrets, UnreadableSecret, WrongSecretKey } from '../../platform/vault/secrets.ts'
import { findCanary, findKeys, type KeyRow, saveCanary, updateSealed } from './keyring.repo.ts'

type PublicPart = Pick<KeyRow, 'kid' | 'algorithm' | 'public_jwk'>

export interface KeySealing {
  /** Writes the canary where it is missing, or sealed under the previous secret key. @throws WrongSecretKey */
  checkCanary(trx: Transaction): Promise<void>
  /** Only reads. @returns what is sealed, or undefined in a database without keys. @throws WrongSecretKey */
  readCanary(db: Db | Transaction): Promise<string | undefined>
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
  async function readCanary(db: Db | Transaction): Promise<string | undefined> {
    const row = await findCanary(db)
    if (!row && (await findKeys(db)).length > 0)
      throw new WrongSecretKey('the database holds signing keys but no canary: this program did not create them')
    try {
      if (row && secrets.open(CANARY, row.sealed).toString() !== 'portcullis') throw new UnreadableSecret('canary')
    } catch {
      throw new WrongSecretKey('PORTCULLIS_SECRET_KEY is not the key that this database was set up with')
    }
    return row?.sealed
  }

  async function checkCanary(trx: Transaction): Promise<void> {
    const sealed = await readCanary(trx)
    if (sealed === undefined || secrets.isStale(sealed)) await saveCanary(trx, secrets.seal(CANARY, Buffer.from('portcullis')))
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
    readCanary,
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
