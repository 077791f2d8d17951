/** Holds the signing keys of this process: the key that signs, the keys that verify, and the published public keys. */
import type { CryptoKey, JWK } from 'jose'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { createImportedKeys } from './imported-keys.ts'
import type { Algorithm } from './key-material.ts'
import { createKeyRotation, type RotateOptions } from './key-rotation.ts'
import { createKeySealing } from './key-sealing.ts'
import { findKeys, type KeyRow } from './keyring.repo.ts'

export interface VerificationKey {
  kid: string
  /** The key decides on the algorithm. The `alg` of a token must equal it. */
  algorithm: Algorithm
  key: CryptoKey
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
  /** Checks the secret key, makes the first key, reads all keys. @throws WrongSecretKey */
  load(): Promise<void>
  /** Reads the keys again. Concurrent calls share one read. */
  reload(): Promise<void>
  signing(): SigningKey
  /** @returns undefined for an unknown kid. Unknown kids are looked up at most once a second. @throws 503 when the lookup fails */
  find(kid: string): Promise<VerificationKey | undefined>
  known(kid: string): VerificationKey | undefined
  /** RFC 7517 set of every public key that a token in circulation may name. Empty under HS256. */
  jwks(): { keys: JWK[] }
  /** @param options.alongside runs in the same transaction */
  rotate(options?: RotateOptions): Promise<KeyStatus>
  list(): Promise<KeyStatus[]>
  status(): readonly KeyStatus[]
}

export interface KeyringDeps {
  db: Db
  secrets: Secrets
  tokens: Config['tokens']
  logger: Logger
  /** Milliseconds, monotonic or not. Limits how often unknown kids are looked up. */
  now: () => number
}

const UNKNOWN_KID_INTERVAL_MS = 1000

export function createKeyring({ db, secrets, tokens, logger, now }: KeyringDeps): Keyring {
  const sealing = createKeySealing(secrets)
  const rotation = createKeyRotation({ db, sealing, tokens, logger })
  const imported = createImportedKeys(sealing, logger)
  let verification = new Map<string, VerificationKey>()
  let current: SigningKey | null = null
  let published: { keys: JWK[] } = { keys: [] }
  let statuses: KeyStatus[] = []
  let loading: Promise<void> | null = null
  let lastLookup = Number.NEGATIVE_INFINITY
  let failure: unknown = null

  async function read(): Promise<void> {
    let rows = await findKeys(db)
    if (await rotation.promoteWhenDue(rows)) rows = await findKeys(db)
    const found = (await Promise.all(rows.map(imported.from))).filter((key) => key !== null)
    verification = new Map(found.map((k) => [k.kid, k]))
    const signer = found.find((k) => rows.some((r) => r.kid === k.kid && r.state === 'current'))
    if (!signer) throw new Error('no current signing key')
    current = { kid: signer.kid, algorithm: signer.algorithm, key: signer.key, privateKey: signer.privateKey }
    published = { keys: found.flatMap((k) => (k.publicJwk ? [k.publicJwk] : [])) }
    statuses = rows.map(toStatus)
    imported.forgetAllBut(rows)
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

  async function find(kid: string): Promise<VerificationKey | undefined> {
    const known = verification.get(kid)
    if (known) return known
    if (loading) await loading
    else if (now() - lastLookup >= UNKNOWN_KID_INTERVAL_MS) {
      lastLookup = now()
      await reload()
    }
    // a key that could not be looked up is not a key that does not exist: 503, not 401
    if (failure && !verification.has(kid)) throw failure
    if (imported.isUnusable(kid)) throw unavailable(`signing key ${kid} cannot be used`)
    return verification.get(kid)
  }

  return {
    reload,
    find,
    list: async () => (await findKeys(db)).map(toStatus),
    status: () => statuses,
    jwks: () => published,
    known: (kid) => verification.get(kid),
    async load() {
      await rotation.prepare()
      await reload()
    },
    signing() {
      if (!current) throw new Error('the keyring is not loaded')
      return current
    },
    async rotate(options = {}) {
      const kid = await rotation.rotate(options)
      await reload()
      return statuses.find((s) => s.kid === kid)!
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
