/** Holds the signing keys of this process: the key that signs, the keys that verify, and the published public keys. */
import type { CryptoKey, JWK } from 'jose'
import type { Config } from '../../platform/config/schema.ts'
import type { Db, Transaction } from '../../platform/db/database.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { createImportedKeys } from './imported-keys.ts'
import type { Algorithm, KeyMaterial } from './key-material.ts'
import { createKeyRotation, type KeyRotation } from './key-rotation.ts'
import { createKeySealing } from './key-sealing.ts'
import { findKeys, type KeyRow } from './keyring.repo.ts'
import { lifetimeOf, type Retirement, retirementOf } from './retired-key.ts'

export interface VerificationKey {
  kid: string
  /** The key decides on the algorithm. The `alg` of a token must equal it. */
  algorithm: Algorithm
  key: CryptoKey
  /** The longest lifetime of an access token that the key has signed. */
  lifetimeSeconds: number
  /** Null unless the key is retired: then it verifies only tokens from before. */
  retirement: Retirement | null
}

export interface SigningKey extends VerificationKey {
  privateKey: CryptoKey
}

export interface KeyStatus {
  kid: string
  algorithm: string
  state: 'next' | 'current' | 'retired'
  createdAt: Date
  activatesAt: Date
  retiredAt: Date | null
}

export interface Keyring {
  /** Checks the secret key, makes the first key, reads all keys. A keyring that only reads makes no key. @throws WrongSecretKey */
  load(): Promise<void>
  /** Reads the keys again. Concurrent calls share one read. */
  reload(): Promise<void>
  /** Reads the keys, and not with a read that began before this call. For a caller that has just changed them. */
  reloadChanges(): Promise<void>
  /** @throws 503 for the moment between the removal of the key that signed and the reading of its successor */
  signing(): SigningKey
  /** @returns undefined for an unknown kid. Unknown kids are looked up at most once a second. @throws 503 when the lookup fails */
  find(kid: string): Promise<VerificationKey | undefined>
  /** Reads the keys first, at most once a second. */
  findAgain(kid: string): Promise<VerificationKey | undefined>
  known(kid: string): VerificationKey | undefined
  /** RFC 7517 set of every public key that a token in circulation may name. Empty under HS256. */
  jwks(): { keys: JWK[] }
  /** Never again uses a key that was revoked, also while the database is away. */
  forget(kid: string): void
  /** These change the keys in the database alone: the caller revokes the removed keys, then calls `reloadChanges`. */
  rotate: KeyRotation['rotate']
  replaceCurrent: KeyRotation['replaceCurrent']
  remove: (trx: Transaction, kid: string) => ReturnType<KeyRotation['remove']>
  list(): Promise<KeyStatus[]>
  status(): readonly KeyStatus[]
}

export interface KeyringDeps {
  db: Db
  secrets: Secrets
  tokens: Config['tokens']
  logger: Logger
  /** Milliseconds, by the clock that writes `iat`. Also limits how often unknown kids are looked up. */
  now: () => number
  /** True: no key is made, and a key that is due is not promoted. For questions about a token. Default: false. */
  isReadOnly?: boolean
}

/** A key as it was read, with its row. */
interface Entry {
  row: KeyRow
  material: KeyMaterial
  verification: VerificationKey
}

const UNKNOWN_KID_INTERVAL_MS = 1000

export function createKeyring({ db, secrets, tokens, logger, now, isReadOnly = false }: KeyringDeps): Keyring {
  const sealing = createKeySealing(secrets)
  const { prepare, promoteWhenDue, ...rotation } = createKeyRotation({ db, sealing, tokens, logger })
  const imported = createImportedKeys(sealing, logger)
  const forgotten = new Set<string>()
  let verification = new Map<string, VerificationKey>()
  let current: SigningKey | null = null
  let next: { key: SigningKey; activatesAtMs: number } | null = null
  let published: { keys: JWK[] } = { keys: [] }
  let statuses: KeyStatus[] = []
  let entries: readonly Entry[] = []
  let loading: Promise<void> | null = null
  let lastLookup = Number.NEGATIVE_INFINITY
  let failure: unknown = null

  async function read(): Promise<void> {
    let rows = await findKeys(db)
    if (!isReadOnly && (await promoteWhenDue(rows))) rows = await findKeys(db)
    const found = await Promise.all(rows.map(async (row) => ({ row, material: await imported.from(row) })))
    use(
      found.flatMap(({ row, material }) => (material ? [{ row, material, verification: verificationOf(row, material) }] : [])),
      rows,
    )
    if (!current && !next) throw new Error('no current signing key')
    imported.forgetAllBut(rows)
  }

  /** @returns the object that is in use for as long as nothing of it changes: it is the mark of a proof in the cache of tokens */
  function verificationOf(row: KeyRow, { kid, algorithm, key }: KeyMaterial): VerificationKey {
    const lifetimeSeconds = lifetimeOf(row, tokens)
    const retirement = retirementOf(row, tokens)
    const known = verification.get(kid)
    const isSame =
      known?.key === key && known.lifetimeSeconds === lifetimeSeconds && JSON.stringify(known.retirement) === JSON.stringify(retirement)
    return isSame ? known : { kid, algorithm, key, lifetimeSeconds, retirement }
  }

  /** Everything else of this keyring follows from the entries. */
  function use(found: readonly Entry[], rows: readonly KeyRow[]): void {
    const isKept = ({ kid }: { kid: string }) => !forgotten.has(kid)
    entries = found.filter(({ row }) => isKept(row))
    verification = new Map(entries.map((entry) => [entry.row.kid, entry.verification]))
    const signerOf = (state: KeyRow['state']) => {
      const entry = entries.find(({ row }) => row.state === state)
      return entry ? { row: entry.row, key: { ...entry.verification, privateKey: entry.material.privateKey } } : null
    }
    current = signerOf('current')?.key ?? null
    const successor = signerOf('next')
    next = successor && { key: successor.key, activatesAtMs: successor.row.activates_at.getTime() }
    published = { keys: entries.flatMap(({ material }) => (material.publicJwk ? [material.publicJwk] : [])) }
    statuses = rows.filter(isKept).map(toStatus)
  }

  function reload(): Promise<void> {
    loading ??= read()
      .then(
        () => {
          failure = null
        },
        (error) => {
          failure = error
          throw error
        },
      )
      .finally(() => {
        loading = null
      })
    return loading
  }

  async function reloadChanges(): Promise<void> {
    await loading?.catch(() => {})
    await reload()
  }

  /** Reads the keys unless they were read for such a reason within the last second. */
  async function lookUp(): Promise<void> {
    if (loading) return loading
    if (now() - lastLookup < UNKNOWN_KID_INTERVAL_MS) return
    lastLookup = now()
    return reload()
  }

  async function find(kid: string): Promise<VerificationKey | undefined> {
    const known = verification.get(kid)
    if (known || forgotten.has(kid)) return known
    await lookUp()
    // a key that could not be looked up is not a key that does not exist: 503, not 401
    if (failure && !verification.has(kid)) throw failure
    if (imported.isUnusable(kid)) throw unavailable(`signing key ${kid} cannot be used`)
    return verification.get(kid)
  }

  return {
    ...rotation,
    reload,
    reloadChanges,
    find,
    list: async () => (await findKeys(db)).map(toStatus),
    status: () => statuses,
    jwks: () => published,
    async findAgain(kid) {
      // without the database the keys that are known decide
      await lookUp().catch(() => {})
      return verification.get(kid)
    },
    known: (kid) => verification.get(kid),
    async load() {
      if (isReadOnly) await sealing.readCanary(db)
      else await prepare()
      await reload()
    },
    signing() {
      // each gateway changes to the next key by its own clock, so that no `iat` is later than the retirement of the old key
      const signer = next && (!current || next.activatesAtMs <= now()) ? next.key : current
      if (signer) return signer
      if (statuses.length === 0 && forgotten.size === 0) throw new Error('the keyring is not loaded')
      lookUp().catch(() => {})
      throw unavailable('the signing key was revoked, and its successor is not read yet')
    },
    forget(kid) {
      if (forgotten.has(kid)) return
      forgotten.add(kid)
      // the database no longer has the key, so a gateway that never read it needs nothing
      if (!verification.has(kid) && !loading) return
      use(
        entries,
        entries.map(({ row }) => row),
      )
      reloadChanges().catch((error) => logger.warn({ reason: 'keys_unread', cause: String(error) }, 'signing keys cannot be read'))
    },
  }
}

const toStatus = (r: KeyRow): KeyStatus => ({
  kid: r.kid,
  algorithm: r.algorithm,
  state: r.state,
  createdAt: r.created_at,
  activatesAt: r.activates_at,
  retiredAt: r.retired_at,
})
