/**
 * Signing keys: `next → current → retired`, kept in the database, the private part sealed. A new key is published before it signs, and an
 * old one verifies until the last token that it signed has expired, so that no verifier ever meets a kid that it could not have fetched.
 */
import { randomBytes } from 'node:crypto'
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { Config } from '../../platform/config/schema.ts'
import { type Db, databaseNow, inTransaction, type Transaction } from '../../platform/db/database.ts'
import { unavailable } from '../../platform/lib/errors.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type SecretLocation, type Secrets, UnreadableSecret, WrongSecretKey } from '../../platform/vault/secrets.ts'
import {
  deleteKeysRetiredBefore,
  deleteNextKey,
  findCanary,
  findKeys,
  insertKey,
  type KeyRow,
  lockKeys,
  promoteNext,
  saveCanary,
  updateSealed,
} from './keyring.repo.ts'

export type Algorithm = Config['tokens']['algorithm']

export interface VerificationKey {
  kid: string
  /** Pinned by the key; a token's own `alg` is only compared with it. */
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
  /** Reads the keys again; one call for any number of callers at a time. */
  reload(): Promise<void>
  signing(): SigningKey
  /** Undefined for a kid that is not ours. Unknown ones are looked up at most once a second. */
  find(kid: string): Promise<VerificationKey | undefined>
  known(kid: string): VerificationKey | undefined
  /** RFC 7517 set of every public key that a token in circulation may name. Empty under HS256. */
  jwks(): { keys: JWK[] }
  /** @param options.alongside done in the same transaction */
  rotate(options?: { now?: boolean; alongside?: (trx: Transaction, kid: string) => Promise<void> }): Promise<KeyStatus>
  list(): Promise<KeyStatus[]>
  status(): readonly KeyStatus[]
}

export interface KeyringDeps {
  db: Db
  secrets: Secrets
  tokens: Config['tokens']
  logger: Logger
  /** Milliseconds, monotonic or not: spaces look-ups of unknown kids. */
  now: () => number
}

const UNKNOWN_KID_INTERVAL_MS = 1000
const CANARY: SecretLocation = { table: 'secret_canary', row: '1', column: 'sealed', owner: '' }
const locationOf = (kid: string): SecretLocation => ({ table: 'signing_keys', row: kid, column: 'private_sealed', owner: '' })
const publicText = (row: Pick<KeyRow, 'kid' | 'algorithm' | 'public_jwk'>) => `${row.kid}|${row.algorithm}|${row.public_jwk}`

export function createKeyring({ db, secrets, tokens, logger, now }: KeyringDeps): Keyring {
  let verification = new Map<string, VerificationKey>()
  let current: SigningKey | null = null
  let published: { keys: JWK[] } = { keys: [] }
  let statuses: KeyStatus[] = []
  let loading: Promise<void> | null = null
  let lastLookup = Number.NEGATIVE_INFINITY
  let failure: unknown = null
  /** Told once each. */
  const unusable = new Set<string>()
  /** Imported once: jose and WebCrypto would import again on each call. */
  const imported = new Map<string, VerificationKey & { privateKey: CryptoKey | null; publicJwk: JWK | null }>()

  async function load(): Promise<void> {
    await inTransaction(db, async (trx) => {
      await lockKeys(trx)
      await checkCanary(trx)
      const rows = await findKeys(trx)
      // a retired key that is none of ours is ignored, here as in `read`; of one that signs, the start depends
      for (const row of rows) if (row.state !== 'retired' || isOurs(row)) await sealAgain(trx, row)
      if (!rows.some((r) => r.state === 'current')) await insertNew(trx, 'current', await databaseNow(trx))
      else await adoptAlgorithm(trx, rows)
    })
    await reload()
  }

  async function checkCanary(trx: Transaction): Promise<void> {
    const row = await findCanary(trx)
    if (!row && (await findKeys(trx)).length > 0)
      throw new WrongSecretKey('the database holds signing keys but no canary: it was not set up by this program')
    try {
      if (row && secrets.open(CANARY, row.sealed).toString() !== 'portcullis') throw new UnreadableSecret('canary')
    } catch {
      throw new WrongSecretKey('PORTCULLIS_SECRET_KEY is not the key that this database was set up with')
    }
    if (!row || secrets.isStale(row.sealed)) await saveCanary(trx, secrets.seal(CANARY, Buffer.from('portcullis')))
  }

  async function sealAgain(trx: Transaction, row: KeyRow): Promise<void> {
    verifyPublic(row)
    if (!secrets.isStale(row.private_sealed)) return
    const place = locationOf(row.kid)
    await updateSealed(trx, row.kid, {
      private_sealed: secrets.seal(place, secrets.open(place, row.private_sealed)),
      public_mac: secrets.mac('signing_keys', publicText(row)),
    })
  }

  const isOurs = (row: KeyRow) => secrets.verifyMac('signing_keys', publicText(row), row.public_mac)

  function verifyPublic(row: KeyRow): void {
    if (!isOurs(row)) throw new WrongSecretKey(`the public part of signing key ${row.kid} was changed`)
  }

  /** The configured algorithm is another one: its key goes the way of every new key. */
  async function adoptAlgorithm(trx: Transaction, rows: KeyRow[]): Promise<void> {
    const [currentRow, nextRow] = (['current', 'next'] as const).map((state) => rows.find((r) => r.state === state))
    if (currentRow?.algorithm === tokens.algorithm || nextRow?.algorithm === tokens.algorithm) return
    if (nextRow) await deleteNextKey(trx)
    await insertNew(trx, 'next', await activation(trx))
  }

  /** Every gateway has polled twice and every cached JWKS is gone by then. */
  async function activation(trx: Transaction): Promise<Date> {
    const waitMs = (2 * tokens.keyPollSeconds + tokens.jwksMaxAgeSeconds) * 1000
    return new Date((await databaseNow(trx)).getTime() + waitMs)
  }

  async function insertNew(trx: Transaction, state: 'current' | 'next', activatesAt: Date): Promise<string> {
    const kid = randomBytes(9).toString('base64url')
    const { algorithm } = tokens
    const { privateBytes, publicJwk } = await generate(algorithm, kid)
    const row = { kid, algorithm, state, public_jwk: JSON.stringify(publicJwk), activates_at: activatesAt }
    const private_sealed = secrets.seal(locationOf(kid), privateBytes)
    await insertKey(trx, { ...row, public_mac: secrets.mac('signing_keys', publicText(row)), private_sealed })
    return kid
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

  async function read(): Promise<void> {
    let rows = await findKeys(db)
    if (await promoteWhenDue(rows)) rows = await findKeys(db)
    const found = (await Promise.all(rows.map(importRow))).filter((key) => key !== null)
    verification = new Map(found.map((k) => [k.kid, k]))
    const signer = found.find((k) => rows.some((r) => r.kid === k.kid && r.state === 'current'))
    if (!signer?.privateKey) throw new Error('no current signing key')
    current = { kid: signer.kid, algorithm: signer.algorithm, key: signer.key, privateKey: signer.privateKey }
    published = { keys: found.flatMap((k) => (k.publicJwk ? [k.publicJwk] : [])) }
    statuses = rows.map(toStatus)
    for (const kid of imported.keys()) if (!verification.has(kid)) imported.delete(kid)
    for (const kid of unusable) if (!rows.some((r) => r.kid === kid)) unusable.delete(kid)
  }

  async function promoteWhenDue(rows: KeyRow[]): Promise<boolean> {
    const isOld = (r: KeyRow, at: Date) => r.state === 'retired' && r.retired_at! < lastUse(at)
    const reading = await databaseNow(db)
    const isDue = rows.some((r) => (r.state === 'next' && r.activates_at <= reading) || isOld(r, reading))
    if (!isDue) return false
    return inTransaction(db, async (trx) => {
      await lockKeys(trx)
      const at = await databaseNow(trx)
      const next = (await findKeys(trx)).find((r) => r.state === 'next')
      if (next && next.activates_at <= at) {
        await promoteNext(trx, at)
        logger.info({ kid: next.kid, algorithm: next.algorithm }, 'a new signing key is in use')
      }
      await deleteKeysRetiredBefore(trx, lastUse(at))
      return true
    })
  }

  /** A key retired before this has signed no token that is still alive; a laggard may have signed for two polls more. */
  const lastUse = (at: Date) => new Date(at.getTime() - (tokens.accessTtlSeconds + 2 * tokens.keyPollSeconds + 60) * 1000)

  /** Null: somebody else put or changed it, or sealed it under a key that we do not have. The others are none the worse for it. */
  async function importRow(row: KeyRow) {
    const known = imported.get(row.kid)
    if (known) return known
    try {
      verifyPublic(row)
      const algorithm = row.algorithm as Algorithm
      const privateBytes = secrets.open(locationOf(row.kid), row.private_sealed)
      const entry = await importKey(row.kid, algorithm, privateBytes, JSON.parse(row.public_jwk))
      imported.set(row.kid, entry)
      unusable.delete(row.kid)
      return entry
    } catch (error) {
      if (!unusable.has(row.kid))
        logger.error({ reason: 'signing_key_unusable', kid: row.kid, cause: String(error) }, 'a signing key cannot be used')
      unusable.add(row.kid)
      return null
    }
  }

  return {
    load,
    reload,
    list: async () => (await findKeys(db)).map(toStatus),
    status: () => statuses,
    jwks: () => published,
    known: (kid) => verification.get(kid),
    signing() {
      if (!current) throw new Error('the keyring is not loaded')
      return current
    },
    async find(kid) {
      const known = verification.get(kid)
      if (known) return known
      if (loading) await loading
      else if (now() - lastLookup >= UNKNOWN_KID_INTERVAL_MS) {
        lastLookup = now()
        await reload()
      }
      // a key that could not be looked up is not a key that does not exist: 503, not 401
      if (failure && !verification.has(kid)) throw failure
      if (unusable.has(kid)) throw unavailable(`signing key ${kid} cannot be used`)
      return verification.get(kid)
    },
    async rotate({ now: atOnce = false, alongside } = {}) {
      const kid = await inTransaction(db, async (trx) => {
        await lockKeys(trx)
        await deleteNextKey(trx)
        const made = await insertNew(trx, 'next', atOnce ? await databaseNow(trx) : await activation(trx))
        if (atOnce) await promoteNext(trx, await databaseNow(trx))
        await alongside?.(trx, made)
        return made
      })
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

/** The private part as bytes to seal: a JWK, or for HS256 the 32 raw bytes. */
async function generate(algorithm: Algorithm, kid: string): Promise<{ privateBytes: Buffer; publicJwk: JWK | null }> {
  if (algorithm === 'HS256') return { privateBytes: randomBytes(32), publicJwk: null }
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true, modulusLength: 2048 })
  const publicJwk = { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' }
  return { privateBytes: Buffer.from(JSON.stringify(await exportJWK(privateKey))), publicJwk }
}

async function importKey(kid: string, algorithm: Algorithm, privateBytes: Buffer, publicJwk: JWK | null) {
  if (algorithm === 'HS256') {
    const key = await crypto.subtle.importKey('raw', new Uint8Array(privateBytes), { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
      'verify',
    ])
    return { kid, algorithm, key, privateKey: key, publicJwk: null }
  }
  const privateKey = (await importJWK(JSON.parse(privateBytes.toString()), algorithm)) as CryptoKey
  const key = (await importJWK(publicJwk!, algorithm)) as CryptoKey
  return { kid, algorithm, key, privateKey, publicJwk }
}
