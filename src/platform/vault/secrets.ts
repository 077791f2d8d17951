/** Seals secrets at rest, makes MACs and derives bytes under PORTCULLIS_SECRET_KEY. Each purpose has its own subkey. */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'

/** Where a secret is stored. The location is authenticated: a value that was moved to another row does not open. */
export interface SecretLocation {
  table: string
  row: string
  column: string
  owner: string
}

/** The secret was sealed under an unknown key, or was changed. */
export class UnreadableSecret extends Error {}

/** The database was set up with another secret key. The gateway does not start. */
export class WrongSecretKey extends Error {}

export interface Secrets {
  /** Identifies the current key and reveals nothing about it. */
  keyId: string
  /** `v1.<key id>.<iv>.<ciphertext + tag>`, AES-256-GCM. */
  seal(location: SecretLocation, plaintext: Uint8Array): string
  /** @throws UnreadableSecret */
  open(location: SecretLocation, sealed: string): Buffer
  /** Whether it was sealed under the previous key and must be sealed again. */
  isStale(sealed: string): boolean
  /** `<key id>.<HMAC-SHA-256>`. */
  mac(purpose: string, data: string): string
  verifyMac(purpose: string, data: string, mac: string): boolean
  /** Whether the MAC names one of our keys. A MAC under our key that does not verify is forged. */
  knows(mac: string): boolean
  /** Derives 32 bytes from `data`. @param keyId the key of the first derivation; default: the current key */
  derive(purpose: string, data: Uint8Array, keyId?: string): Buffer
  /** The same under each of our keys, the current key first. */
  deriveAll(purpose: string, data: Uint8Array): Buffer[]
}

interface KeySet {
  id: string
  subkey(purpose: string): Buffer
  /** The subkey in the form that Node prepares once. A Buffer would be prepared for each MAC, which takes several times as long as the MAC. */
  hmacKey(purpose: string): KeyObject
}

/** @param previous opens and verifies, but never seals */
export function createSecrets(current: Buffer, previous: Buffer | null = null): Secrets {
  const now = keySet(current)
  const keys = new Map([previous && keySet(previous), now].filter((k) => k !== null).map((k) => [k.id, k]))
  const find = (id: string | undefined) => {
    const key = keys.get(id ?? '')
    if (!key) throw new UnreadableSecret(`sealed under another secret key (${id})`)
    return key
  }

  const secrets: Secrets = {
    keyId: now.id,
    seal(location, plaintext) {
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', now.subkey(`seal|${location.table}|${location.column}`), iv).setAAD(aad(location))
      const body = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
      return ['v1', now.id, iv.toString('base64url'), body.toString('base64url')].join('.')
    },
    open(location, sealed) {
      const [version, id, iv = '', text = ''] = sealed.split('.')
      if (version !== 'v1') throw new UnreadableSecret('a sealed secret has an unknown format')
      const body = Buffer.from(text, 'base64url')
      try {
        const decipher = createDecipheriv(
          'aes-256-gcm',
          find(id).subkey(`seal|${location.table}|${location.column}`),
          Buffer.from(iv, 'base64url'),
        )
        decipher.setAAD(aad(location)).setAuthTag(body.subarray(-16))
        return Buffer.concat([decipher.update(body.subarray(0, -16)), decipher.final()])
      } catch (error) {
        if (error instanceof UnreadableSecret) throw error
        throw new UnreadableSecret(`a sealed ${location.table}.${location.column} was changed or moved`)
      }
    },
    isStale: (sealed) => sealed.split('.')[1] !== now.id,
    mac: (purpose, data) => `${now.id}.${hmac(now, `mac|${purpose}`, data).toString('base64url')}`,
    verifyMac(purpose, data, mac) {
      const [id, text = ''] = mac.split('.')
      const key = keys.get(id ?? '')
      const given = Buffer.from(text, 'base64url')
      return key !== undefined && given.length === 32 && timingSafeEqual(given, hmac(key, `mac|${purpose}`, data))
    },
    knows: (mac) => keys.has(mac.split('.')[0]!),
    derive: (purpose, data, keyId = now.id) => hmac(find(keyId), `derive|${purpose}`, data),
    deriveAll: (purpose, data) => [...keys.values()].reverse().map((key) => hmac(key, `derive|${purpose}`, data)),
  }
  return secrets
}

const hmac = (key: KeySet, purpose: string, data: string | Uint8Array) => createHmac('sha256', key.hmacKey(purpose)).update(data).digest()
const aad = ({ table, row, column, owner }: SecretLocation) => Buffer.from(JSON.stringify([table, row, column, owner]))

/** HKDF-SHA-256 (RFC 5869), one subkey per purpose. */
function keySet(key: Buffer): KeySet {
  const made = new Map<string, Buffer>()
  const subkey = (purpose: string) => {
    const known = made.get(purpose) ?? Buffer.from(hkdfSync('sha256', key, 'portcullis', purpose, 32))
    made.set(purpose, known)
    return known
  }
  const prepared = new Map<string, KeyObject>()
  const hmacKey = (purpose: string) => {
    const known = prepared.get(purpose) ?? createSecretKey(subkey(purpose))
    prepared.set(purpose, known)
    return known
  }
  return { id: subkey('key id').subarray(0, 6).toString('hex'), subkey, hmacKey }
}
