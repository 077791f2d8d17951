/** An authenticator in software (WebAuthn L3 §6), which can also answer in the wrong way. */
import { createHash, createSign, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'

type Json = Record<string, any>

export interface AuthenticatorOptions {
  origin: string
  /** Its keys may be copied to other devices (BE). */
  isSynced?: boolean
}

/** What differs from an honest answer. */
export interface Wrong {
  origin?: string
  rpId?: string
  /** Of the client data. */
  type?: string
  challenge?: string
  crossOrigin?: boolean
  isVerified?: boolean
  isPresent?: boolean
  isSynced?: boolean
  count?: number
  userHandle?: string | null
  /** The signature is of another key. */
  key?: KeyObject
}

export interface Credential {
  id: Buffer
  key: KeyObject
  rpId: string
  userHandle: string
  count: number
}

export interface Authenticator {
  readonly credentials: Credential[]
  create(options: Json, wrong?: Wrong): Json
  /** @param id of the credential; default: the newest that the options allow */
  get(options: Json, wrong?: Wrong, id?: Buffer): Json
}

const FLAGS = { present: 0x01, verified: 0x04, eligible: 0x08, backedUp: 0x10, attested: 0x40 }

const sha256 = (data: string | Buffer): Buffer => createHash('sha256').update(data).digest()
const base64url = (data: Buffer | string): string => Buffer.from(data).toString('base64url')

export function createAuthenticator({ origin, isSynced = false }: AuthenticatorOptions): Authenticator {
  const credentials: Credential[] = []

  const clientData = (type: string, challenge: string, wrong: Wrong): string =>
    base64url(
      JSON.stringify({
        type: wrong.type ?? type,
        challenge: wrong.challenge ?? challenge,
        origin: wrong.origin ?? origin,
        crossOrigin: wrong.crossOrigin ?? false,
      }),
    )

  function authenticatorData(rpId: string, count: number, wrong: Wrong, attested: Buffer | null): Buffer {
    const { isVerified = true, isPresent = true } = wrong
    const synced = wrong.isSynced ?? isSynced
    const flags =
      (isPresent ? FLAGS.present : 0) |
      (isVerified ? FLAGS.verified : 0) |
      (synced ? FLAGS.eligible | FLAGS.backedUp : 0) |
      (attested ? FLAGS.attested : 0)
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(wrong.count ?? count)
    return Buffer.concat([sha256(wrong.rpId ?? rpId), Buffer.from([flags]), counter, attested ?? Buffer.alloc(0)])
  }

  return {
    credentials,
    create({ rp, user, challenge }, wrong = {}) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const { x, y } = publicKey.export({ format: 'jwk' })
      const id = randomBytes(32)
      const cose = cborMap([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, Buffer.from(x!, 'base64url')],
        [-3, Buffer.from(y!, 'base64url')],
      ])
      const attested = Buffer.concat([Buffer.alloc(16), Buffer.from([0, id.length]), id, cose])
      credentials.push({ id, key: privateKey, rpId: rp.id, userHandle: user.id, count: 0 })
      const attestationObject = cborMap([
        ['fmt', 'none'],
        ['attStmt', cborMap([])],
        ['authData', authenticatorData(rp.id, 0, wrong, attested)],
      ])
      return {
        id: base64url(id),
        rawId: base64url(id),
        type: 'public-key',
        response: {
          clientDataJSON: clientData('webauthn.create', challenge, wrong),
          attestationObject: base64url(attestationObject),
          transports: ['internal'],
        },
      }
    },
    get({ challenge, rpId, allowCredentials = [] }, wrong = {}, wanted) {
      const allowed = allowCredentials.map(({ id }: Json) => id)
      const credential = credentials.findLast(({ id }) =>
        wanted ? id.equals(wanted) : allowed.length === 0 || allowed.includes(base64url(id)),
      )
      if (!credential) throw new Error('the authenticator has no passkey that is allowed')
      const authData = authenticatorData(rpId, ++credential.count, wrong, null)
      const data = clientData('webauthn.get', challenge, wrong)
      const signed = Buffer.concat([authData, sha256(Buffer.from(data, 'base64url'))])
      const userHandle = wrong.userHandle === undefined ? credential.userHandle : wrong.userHandle
      return {
        id: base64url(credential.id),
        rawId: base64url(credential.id),
        type: 'public-key',
        response: {
          clientDataJSON: data,
          authenticatorData: base64url(authData),
          signature: base64url(
            createSign('sha256')
              .update(signed)
              .sign(wrong.key ?? credential.key),
          ),
          userHandle,
        },
        authenticatorAttachment: 'platform',
        clientExtensionResults: {},
      }
    },
  }
}

function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(major << 5) | value])
  if (value < 256) return Buffer.from([(major << 5) | 24, value])
  return Buffer.from([(major << 5) | 25, value >> 8, value & 255])
}

function cbor(value: number | string | Buffer): Buffer {
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value)
  if (typeof value === 'string') return Buffer.concat([head(3, value.length), Buffer.from(value)])
  return isMap(value) ? value : Buffer.concat([head(2, value.length), value])
}

/** Encoded maps of CBOR (RFC 8949), which are not encoded again. */
const maps = new WeakSet<Buffer>()
const isMap = (value: Buffer): boolean => maps.has(value)

function cborMap(entries: [number | string, number | string | Buffer][]): Buffer {
  const encoded = Buffer.concat([head(5, entries.length), ...entries.flatMap(([key, value]) => [cbor(key), cbor(value)])])
  maps.add(encoded)
  return encoded
}
