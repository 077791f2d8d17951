import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { EncryptJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, newUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { claimsOf, headerOf } from '../support/session.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

type Json = Record<string, unknown>

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const now = () => Math.floor(Date.now() / 1000)
const without = (name: string) => (of: Json) => {
  const { [name]: _, ...rest } = of
  return rest
}

describe.each(['EdDSA', 'RS256', 'ES256', 'HS256'] as const)('attacks on %s tokens', (algorithm) => {
  let upstream: Upstream
  let gateway: Gateway
  let token: string
  let header: Json
  let claims: Json
  beforeAll(async () => {
    upstream = await startUpstream()
    gateway = await startGateway({
      config: { tokens: { algorithm } },
      routes: [
        { name: 'users', match: { path: '/users' }, upstream: [upstream.url], access: 'authenticated' },
        { name: 'open', match: { path: '/open' }, upstream: [upstream.url], access: 'public' },
      ],
    })
    token = (await newUser(gateway)).token
    ;[header, claims] = [headerOf(token), claimsOf(token)]
  })
  afterAll(async () => {
    await gateway.close()
    await upstream.close()
  })

  const SUBTLE = {
    EdDSA: 'Ed25519',
    RS256: 'RSASSA-PKCS1-v1_5',
    ES256: { name: 'ECDSA', hash: 'SHA-256' },
    HS256: 'HMAC',
  }
  /** Signed with the gateway's own key: what is wrong is what the test says, and nothing else. */
  const signed = (change: (claims: Json) => unknown, changeHeader: (header: Json) => unknown = (h) => h): Promise<string> =>
    signedBytes(JSON.stringify(change(claims)), JSON.stringify(changeHeader(header)))
  async function signedBytes(claimsBytes: string | Buffer, headerBytes: string | Buffer = JSON.stringify(header)): Promise<string> {
    const input = [headerBytes, claimsBytes].map((part) => Buffer.from(part as string).toString('base64url')).join('.')
    const { privateKey } = gateway.app.identity.keyring.signing()
    const signature = await crypto.subtle.sign(SUBTLE[algorithm], privateKey, Buffer.from(input))
    return `${input}.${Buffer.from(signature).toString('base64url')}`
  }
  const same = (of: Json) => of
  const forged = (changed: Json, mac: (input: string) => Buffer | string) => {
    const input = `${encode({ ...header, ...changed })}.${encode(claims)}`
    return `${input}.${Buffer.from(mac(input)).toString('base64url')}`
  }

  async function isRefused(attack: string, code = 'token_invalid'): Promise<void> {
    for (const path of ['/users', '/open', '/auth/me']) {
      const { status, body, headers } = await call(gateway, path, { headers: { authorization: `Bearer ${attack}` } })
      expect({ path, status, code: body.code }).toEqual({ path, status: 401, code })
      expect(headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
    }
    expect(upstream.take()).toEqual([])
  }

  it('a token signed the same way with nothing changed is good: what is refused below is refused for its own sake', async () => {
    expect((await call(gateway, '/users', { token: await signed(same) })).status).toBe(200)
    expect((await call(gateway, '/users', { token })).status).toBe(200)
    expect(upstream.take()).toHaveLength(2)
  })

  it.each<unknown>([
    'none',
    'None',
    'NONE',
    'nOnE',
    'none ',
    ' none',
    'none\0',
    '',
    0,
    null,
    true,
    [],
    'unknown',
  ])('no signature, alg %j', async (alg) => {
    const { kid: _, ...keyless } = header
    for (const h of [
      { ...header, alg },
      { ...keyless, alg },
    ]) {
      await isRefused(`${encode(h)}.${encode(claims)}.`)
      await isRefused(`${encode(h)}.${encode(claims)}`)
      await isRefused(`${encode(h)}.${encode(claims)}.${token.split('.')[2]}`)
    }
  })

  it('the signature left away, or taken from another token', async () => {
    const [h, , s] = token.split('.')
    const other = (await newUser(gateway)).token.split('.')
    await isRefused(token.slice(0, token.lastIndexOf('.') + 1))
    await isRefused(`${h}.${other[1]}.${s}`)
    await isRefused(`${h}.${encode({ ...claims, roles: ['admin'] })}.${s}`)
  })

  it('the public key, in any of its spellings, as the secret of an HMAC', async () => {
    const jwk: any = (await call(gateway, '/.well-known/jwks.json')).body.keys[0]
    // under HS256 nothing is published: what could be guessed are empty ones and the kid
    const secrets: (string | Buffer)[] = ['', String(header.kid), 'secret']
    if (jwk) {
      const key: KeyObject = createPublicKey({ key: jwk, format: 'jwk' })
      const pem = key.export({ type: 'spki', format: 'pem' }) as string
      secrets.push(pem, pem.trim(), pem.replaceAll('\n', '\r\n'), Buffer.from(pem).toString('base64'))
      secrets.push(key.export({ type: 'spki', format: 'der' }), JSON.stringify(jwk), JSON.stringify({ keys: [jwk] }))
      if (jwk.kty === 'RSA') secrets.push(key.export({ type: 'pkcs1', format: 'pem' }), key.export({ type: 'pkcs1', format: 'der' }))
      secrets.push(...['x', 'n'].filter((p) => jwk[p]).flatMap((p) => [jwk[p], Buffer.from(jwk[p], 'base64url')]))
    }
    for (const secret of secrets)
      for (const [alg, hash] of [
        ['HS256', 'sha256'],
        ['HS384', 'sha384'],
        ['HS512', 'sha512'],
      ] as const)
        await isRefused(forged({ alg }, (input) => createHmac(hash, secret).update(input).digest()))
  })

  it('a key that the token brings along or points to', async () => {
    const pair = generateKeyPairSync('ed25519')
    const jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'evil', alg: 'EdDSA', use: 'sig' }
    const evil = await startUpstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [jwk] }))
      return true
    })
    let isAsked = false
    evil.server.on('connection', () => {
      isAsked = true
    })
    const x5c = [pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')]
    for (const brought of [
      { jwk },
      { jku: `${evil.url}/jwks.json` },
      { x5u: `${evil.url}/cert.pem` },
      { x5c },
      { jwk, kid: 'evil' },
      { jku: evil.url, kid: 'evil' },
    ])
      await isRefused(forged({ alg: 'EdDSA', ...brought }, (input) => sign(null, Buffer.from(input), pair.privateKey)))
    expect(isAsked).toBe(false)
    await evil.close()
  })

  it.each(['EdDSA', 'ES256', 'RS256'] as const)("a stranger's %s key under our kid", async (alg) => {
    const { privateKey } =
      alg === 'EdDSA'
        ? generateKeyPairSync('ed25519')
        : alg === 'ES256'
          ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
          : generateKeyPairSync('rsa', { modulusLength: 2048 })
    const hash = alg === 'EdDSA' ? null : 'sha256'
    await isRefused(forged({ alg }, (input) => sign(hash, Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })))
  })

  it('a signature of nothing but zeros, of a length that fits any algorithm, or of the order of the curve (CVE-2022-21449)', async () => {
    const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
    const zero = Buffer.alloc(32)
    const one = Buffer.from('1'.padStart(64, '0'), 'hex')
    const pairs = [zero, one, order].flatMap((r) => [zero, one, order].map((s) => Buffer.concat([r, s])))
    // the last one is ASN.1 for two zeros
    for (const bytes of [Buffer.alloc(1), zero, Buffer.alloc(256), ...pairs, Buffer.from('3006020100020100', 'hex')])
      await isRefused(forged({}, () => bytes))
  })

  it.each([
    ['missing', undefined],
    ['empty', ''],
    ['of another key', 'AAAAAAAAAAAA'],
    ['a path', '../../../../dev/null'],
    ['a query', "' UNION SELECT 'x' --"],
    ['a command', '| sleep 9'],
    ['a property of objects', '__proto__'],
    ['a method of objects', 'constructor'],
    ['a number', 0],
    ['a list', ['k']],
    ['an object', { k: 1 }],
    ['null', null],
    ['with a NUL', '\u0000'],
    ['long', 'k'.repeat(1500)],
  ])('a kid that is %s', async (_, kid) => isRefused(await signed(same, (h) => ({ ...h, kid }))))

  it('a kid that is ours with something after it', async () => {
    for (const kid of [`${header.kid} `, `${header.kid}\u0000`, `${header.kid}/`, ` ${header.kid}`])
      await isRefused(await signed(same, (h) => ({ ...h, kid })))
  })

  it.each([
    ['crit', { crit: ['exp'] }],
    ['crit of an extension that it brings', { crit: ['urn:x'], 'urn:x': true }],
    ['an unencoded payload', { crit: ['b64'], b64: false }],
    ['b64 without crit', { b64: false }],
    ['compression', { zip: 'DEF' }],
    ['another alg', { alg: algorithm === 'RS256' ? 'PS256' : 'RS256' }],
    ['alg in lower case', { alg: algorithm.toLowerCase() }],
    ['a list as alg', { alg: [algorithm] }],
    ['no alg', { alg: undefined }],
    ['no typ', { typ: undefined }],
    ['typ JWT', { typ: 'JWT' }],
    ['typ of another kind of ours', { typ: 'mfa+jwt' }],
    ['a list as typ', { typ: ['at+jwt'] }],
  ])('a header with %s', async (_, more) => isRefused(await signed(same, (h) => ({ ...h, ...more }))))

  it.each(['aud', 'iss', 'exp', 'iat', 'jti', 'sub', 'sid', 'ver', 'roles'])('no %s', async (name) =>
    isRefused(await signed(without(name))))

  it.each([
    ['aud of another service', { aud: 'billing' }],
    ['aud in a list of others', { aud: ['billing', 'API'] }],
    ['aud that is an object', { aud: { api: true } }],
    ['iss of somebody else', { iss: 'https://evil.example' }],
    ['iss with a slash more', { iss: 'http://gateway.test/' }],
    ['iss in a list', { iss: ['http://gateway.test'] }],
    ['exp as a text', { exp: '9999999999' }],
    ['exp that is null', { exp: null }],
    ['iat as a text', { iat: 'today' }],
    ['iat in an hour', { iat: now() + 3600 }],
    ['nbf in an hour', { nbf: now() + 3600 }],
    ['nbf as a text', { nbf: '0' }],
    ['sub that is a number', { sub: 1 }],
    ['sub that is empty', { sub: '' }],
    ['sid that is an object', { sid: {} }],
    ['sid that is empty', { sid: '' }],
    ['ver as a text', { ver: '1' }],
    ['ver that is a fraction', { ver: 1.5 }],
    ['ver that is null', { ver: null }],
    ['ver beyond all counting', { ver: 1e300 }],
    ['roles as a text', { roles: 'admin' }],
    ['roles that are no texts', { roles: [{ admin: true }] }],
    ['scope as a list', { scope: ['users:write'] }],
  ])('%s', async (_, more) => isRefused(await signed((c) => ({ ...c, ...more }))))

  it('a lifetime that is over', async () => {
    for (const ago of [3600, 60, 6]) await isRefused(await signed((c) => ({ ...c, exp: now() - ago })), 'token_expired')
    await isRefused(await signed((c) => ({ ...c, exp: 0 })), 'token_expired')
    await isRefused(await signed((c) => ({ ...c, exp: -1 })), 'token_expired')
  })

  // RFC 8725 §3.7, RFC 7519 §4
  describe('a right signature over text that could be read in two ways', () => {
    const more = (json: unknown, text: string) => JSON.stringify(json).replace(/}$/, `,${text}}`)
    const utf16 = (text: string, order: 'le' | 'be') => {
      const bytes = Buffer.from(`\ufeff${text}`, 'utf16le')
      return order === 'le' ? bytes : bytes.swap16()
    }
    const odd: [string, (json: Json) => string | Buffer][] = [
      ['a byte that is no UTF-8', (json) => Buffer.from(more(json, '"x":"\xff"'), 'latin1')],
      ['Latin-1', (json) => Buffer.from(more(json, '"x":"caf\xe9"'), 'latin1')],
      ['overlong UTF-8', (json) => Buffer.from(more(json, '"x":"\xc0\xaf"'), 'latin1')],
      ['half a surrogate pair in UTF-8', (json) => Buffer.from(more(json, '"x":"\xed\xa0\x80"'), 'latin1')],
      ['a byte order mark', (json) => `\ufeff${JSON.stringify(json)}`],
      ['UTF-16LE', (json) => utf16(JSON.stringify(json), 'le')],
      ['UTF-16BE', (json) => utf16(JSON.stringify(json), 'be')],
      ['a name twice', (json) => more(json, Object.entries(json).map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`)[0]!)],
      [
        'a name twice, once escaped',
        (json) =>
          more(json, `"\\u0${Object.keys(json)[0]!.charCodeAt(0).toString(16).padStart(3, '0')}${Object.keys(json)[0]!.slice(1)}":"x"`),
      ],
      ['a comment', (json) => more(json, '/**/"x":1')],
      ['a comma at the end', (json) => more(json, '')],
      ['something behind it', (json) => `${JSON.stringify(json)}{}`],
      ['a NUL behind it', (json) => `${JSON.stringify(json)}\0`],
      ['blanks', (json) => JSON.stringify(json, null, 1)],
      ['a number that is none of JSON', (json) => more(json, '"x":NaN')],
      ['a number too large', (json) => more(json, '"x":1e999')],
    ]
    it.each(odd)('%s in the claims', async (_, spell) => isRefused(await signedBytes(spell(claims))))
    it.each(odd)('%s in the header', async (_, spell) => isRefused(await signedBytes(JSON.stringify(claims), spell(header))))

    it.each(['exp', 'aud', 'roles'])('%s once wrong and once right, in either order', async (name) => {
      const right = JSON.stringify(claims[name])
      const wrong = JSON.stringify({ exp: 0, aud: 'billing', roles: ['admin'] }[name])
      const rest = more(without(name)(claims), `"${name}":`)
      for (const [a, b] of [
        [wrong, right],
        [right, wrong],
      ])
        await isRefused(await signedBytes(rest.replace(/}$/, `${a},"${name}":${b}}`)))
    })
  })

  it('a token within a token', async () => {
    for (const typ of ['at+jwt', 'JWT']) await isRefused(await signedBytes(token, JSON.stringify({ ...header, typ, cty: 'JWT' })))
    await isRefused(await signedBytes(JSON.stringify(token)))
  })

  it('an encrypted token', async () => {
    const made = new EncryptJWT(claims).setProtectedHeader({ alg: 'dir', enc: 'A256GCM', typ: 'at+jwt', kid: String(header.kid) })
    await isRefused(await made.encrypt(randomBytes(32)))
  })

  it('claims that are no object', async () => {
    for (const payload of [null, [], 'claims', 1, true]) await isRefused(await signed(() => payload))
  })

  it('another encoding of the same token', async () => {
    const [h, p, s] = token.split('.') as [string, string, string]
    // the last character of a part holds bits that no byte uses: decoders do not look at them
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const last = alphabet.indexOf(s.at(-1)!)
    const siblings = [1, 2, 3].map((bit) => s.slice(0, -1) + alphabet[last ^ bit])
    for (const spelled of siblings) {
      expect(Buffer.from(spelled, 'base64url')).toEqual(Buffer.from(s, 'base64url'))
      await isRefused(`${h}.${p}.${spelled}`)
    }
    for (const spelled of [`${s}=`, `${s}==`, `${s}A`, `${s}!`, `${s}.`, `${s}%3D`]) await isRefused(`${h}.${p}.${spelled}`)
    await isRefused(`${h}=.${p}.${s}`)
    await isRefused(`${h}..${p}.${s}`)
    await isRefused(`.${h}.${p}.${s}`)
    const standard = Buffer.from(s, 'base64url').toString('base64').replace(/=+$/, '')
    if (standard !== s) await isRefused(`${h}.${p}.${standard}`)
  })

  it('a form that is none of ours', async () => {
    const [h, p, s] = token.split('.')
    for (const odd of [
      'a',
      'a.b.c',
      '..',
      `${h}.${p}.${s}.${s}.${s}`,
      `${h}..${s}`,
      `${h}.${p}`,
      JSON.stringify({ protected: h, payload: p, signature: s }),
      JSON.stringify({ payload: p, signatures: [{ protected: h, signature: s }] }),
      JSON.stringify({
        payload: p,
        signatures: [
          { protected: encode({ alg: 'none' }), signature: '' },
          { protected: h, signature: s },
        ],
      }),
      `${h}.${p}.\t${s}`,
      `"${token}"`,
      encodeURIComponent(`${token} `),
      `${token},${token}`,
    ])
      await isRefused(odd)
    for (const odd of [`${token} ${token}`, '', ' '])
      expect((await call(gateway, '/users', { headers: { authorization: `Bearer ${odd}` } })).status).toBe(401)
    expect(upstream.take()).toEqual([])
  })

  it('a token that is longer than any of ours, although its signature is right', async () => {
    const long = await signed((c) => ({ ...c, pad: 'x'.repeat(3500) }))
    expect(long.length).toBeGreaterThan(4096)
    await isRefused(long)
    expect((await call(gateway, '/users', { token: await signed((c) => ({ ...c, pad: 'x'.repeat(500) })) })).status).toBe(200)
    upstream.take()
  })

  it('the right token under another scheme is no credential', async () => {
    for (const scheme of ['Basic', 'Token', 'JWT', 'Bearer,', 'XBearer']) {
      const { body, headers } = await call(gateway, '/users', { headers: { authorization: `${scheme} ${token}` } })
      expect(body).toMatchObject({ status: 401, code: 'token_missing' })
      expect(headers.get('www-authenticate')).toBe('Bearer')
    }
    expect(upstream.take()).toEqual([])
  })
})
