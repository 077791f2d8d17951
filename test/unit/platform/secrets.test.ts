import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createSecrets, type SecretLocation, UnreadableSecret } from '../../../src/platform/vault/secrets.ts'

const [key, other] = [randomBytes(32), randomBytes(32)]
const secrets = createSecrets(key)
const place: SecretLocation = { table: 'signing_keys', row: 'k1', column: 'private_sealed', owner: 'ann' }
const plain = Buffer.from('a private key')

describe('a sealed secret', () => {
  it('opens where it was sealed, and shows nothing of itself', () => {
    const sealed = secrets.seal(place, plain)
    expect(secrets.open(place, sealed)).toEqual(plain)
    expect(sealed).toMatch(/^v1\.[0-9a-f]{12}\.[\w-]{16}\.[\w-]+$/)
    expect(Buffer.from(sealed.split('.')[3]!, 'base64url').includes(plain)).toBe(false)
    expect(secrets.open(place, secrets.seal(place, Buffer.alloc(0)))).toEqual(Buffer.alloc(0))
  })

  it('is another one each time', () => {
    expect(secrets.seal(place, plain)).not.toBe(secrets.seal(place, plain))
  })

  it.each(['table', 'row', 'column', 'owner'] as const)('does not open in another %s', (part) => {
    expect(() => secrets.open({ ...place, [part]: 'another' }, secrets.seal(place, plain))).toThrow(UnreadableSecret)
  })

  it('does not open where the parts of its place are only divided differently', () => {
    const sealed = secrets.seal({ ...place, row: 'a","b', owner: 'c' }, plain)
    expect(() => secrets.open({ ...place, row: 'a', owner: 'b","c' }, sealed)).toThrow(UnreadableSecret)
  })

  it('does not open with any byte of it changed', () => {
    const [version, id, iv, body] = secrets.seal(place, plain).split('.') as [string, string, string, string]
    for (const [i, part] of [iv, body].entries()) {
      const bytes = Buffer.from(part, 'base64url')
      for (let at = 0; at < bytes.length; at++) {
        const changed = Buffer.from(bytes)
        changed[at]! ^= 1
        const text = changed.toString('base64url')
        expect(() => secrets.open(place, [version, id, ...(i === 0 ? [text, body] : [iv, text])].join('.'))).toThrow(UnreadableSecret)
      }
    }
  })

  it.each([
    ['nothing', ''],
    ['a text', 'a private key'],
    ['another version', secrets.seal(place, plain).replace('v1.', 'v2.')],
    ['no body', secrets.seal(place, plain).split('.').slice(0, 3).join('.')],
    ['a cut body', secrets.seal(place, plain).slice(0, -4)],
    ['a body shorter than its tag', secrets.seal(place, plain).replace(/[^.]+$/, 'AAAA')],
    ['a short IV', secrets.seal(place, plain).replace(/^(v1\.[^.]+)\.[^.]+/, '$1.AAAA')],
  ])('is not %s', (_, sealed) => {
    expect(() => secrets.open(place, sealed)).toThrow(UnreadableSecret)
  })
})

describe('a new secret key', () => {
  const rotated = createSecrets(other, key)

  it('opens and verifies what the previous one made, when it is given, and seals with its own', () => {
    const [old, mac] = [secrets.seal(place, plain), secrets.mac('keys', 'data')]
    expect(rotated.open(place, old)).toEqual(plain)
    expect(rotated.verifyMac('keys', 'data', mac)).toBe(true)
    expect([rotated.isStale(old), rotated.isStale(rotated.seal(place, plain))]).toEqual([true, false])
    expect(() => secrets.open(place, rotated.seal(place, plain))).toThrow(UnreadableSecret)
  })

  it('opens and verifies nothing of the old one alone', () => {
    const alone = createSecrets(other)
    expect(() => alone.open(place, secrets.seal(place, plain))).toThrow('sealed under another secret key')
    expect(alone.verifyMac('keys', 'data', secrets.mac('keys', 'data'))).toBe(false)
    expect(() => alone.derive('token', plain, secrets.keyId)).toThrow(UnreadableSecret)
  })

  it('derives what the previous key derived, when asked for it by id', () => {
    const data = Buffer.from('session')
    expect(rotated.derive('token', data, secrets.keyId)).toEqual(secrets.derive('token', data))
    expect(rotated.derive('token', data)).not.toEqual(secrets.derive('token', data))
  })
})

describe('a MAC', () => {
  it('holds for its purpose, its data and its key, and for nothing else', () => {
    const mac = secrets.mac('keys', 'data')
    expect(secrets.verifyMac('keys', 'data', mac)).toBe(true)
    expect(secrets.verifyMac('audit', 'data', mac)).toBe(false)
    expect(secrets.verifyMac('keys', 'Data', mac)).toBe(false)
    const [id, text] = mac.split('.') as [string, string]
    const changed = Buffer.from(text, 'base64url')
    changed[31]! ^= 1
    for (const wrong of [
      '',
      id,
      `${id}.`,
      `${id}.${text.slice(0, -2)}`,
      `x.${text}`,
      `${id}.${changed.toString('base64url')}`,
      `${id}.${text}AAAA`,
    ])
      expect(secrets.verifyMac('keys', 'data', wrong)).toBe(false)
  })
})

describe('derived bytes', () => {
  const data = Buffer.from('session')

  it('are 32, the same each time, in every process with the key', () => {
    expect(secrets.derive('token', data)).toHaveLength(32)
    expect(createSecrets(Buffer.from(key)).derive('token', data)).toEqual(secrets.derive('token', data))
  })

  it('can be asked for under each key, the current key first', () => {
    const derived = createSecrets(other, key).deriveAll('token', data)
    expect(derived).toEqual([createSecrets(other).derive('token', data), secrets.derive('token', data)])
    expect(secrets.deriveAll('token', data)).toEqual([secrets.derive('token', data)])
  })

  it('differ with purpose, data and key', () => {
    const all = [
      secrets.derive('token', data),
      secrets.derive('account', data),
      secrets.derive('token', Buffer.from('session2')),
      createSecrets(other).derive('token', data),
    ]
    expect(new Set(all.map((b) => b.toString('hex'))).size).toBe(4)
  })
})

it('the id of a key says nothing of the key', () => {
  expect(secrets.keyId).toMatch(/^[0-9a-f]{12}$/)
  expect(key.toString('hex')).not.toContain(secrets.keyId)
  expect(createSecrets(key).keyId).toBe(secrets.keyId)
  expect(createSecrets(other).keyId).not.toBe(secrets.keyId)
})
