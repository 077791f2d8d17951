/** RFC 7523 §3, against its own examples and against those who would be somebody else. */
import { createHmac, randomUUID } from 'node:crypto'
import { base64url, exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { from, newAddress } from '../support/addresses.ts'
import { call, newUser, OPERATOR } from '../support/client.ts'
import {
  ASSERTION_TYPE,
  askForToken,
  askWithAssertion,
  assertionOf,
  basic,
  type KeyClient,
  newClient,
  newKeyClient,
  post,
  tokenOf,
} from '../support/clients.ts'
import { type Gateway, startGateway, stillClock } from '../support/gateway.ts'
import { rows } from '../support/rows.ts'
import { claimsOf } from '../support/session.ts'

let gateway: Gateway
let machine: KeyClient
beforeAll(async () => {
  gateway = await startGateway()
  machine = await newKeyClient(gateway, 'RS256')
})
afterAll(() => gateway.close())

const now = () => Math.floor(Date.now() / 1000)
const part = (text: string) => base64url.encode(text)
/** Signed as it is written: for JSON that no library would write. */
async function signedText(header: string, claims: string): Promise<string> {
  const data = `${part(header)}.${part(claims)}`
  const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', machine.privateKey, Buffer.from(data))
  return `${data}.${base64url.encode(new Uint8Array(signature))}`
}
const claimsText = (more = '') =>
  `{"iss":"${machine.id}","sub":"${machine.id}","aud":"http://gateway.test","jti":"${randomUUID()}","exp":${now() + 60}${more}}`

async function refused(assertion: string, form: Record<string, string> = {}) {
  const { status, body, headers } = await askWithAssertion(gateway, assertion, form)
  expect({ status, body }).toEqual({
    status: 401,
    body: { error: 'invalid_client', error_description: 'The client could not be authenticated. Check its id and its credential.' },
  })
  expect(headers.get('www-authenticate')).toBe('Basic realm="clients"')
}
const taken = async (assertion: string) => expect((await askWithAssertion(gateway, assertion)).status).toBe(200)

describe('a key and a signature of an RFC', () => {
  // RFC 8037 appendix A.1 and A.2: the key of an Ed25519 example
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }
  const d = 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A'

  it('an assertion of the form of RFC 7523 §2.2 and §4, made with the key of RFC 8037, is taken as the whole body', async () => {
    const client = await newClient(gateway, { jwks: { keys: [{ ...jwk, kid: '22' }] } })
    const key = await importJWK({ ...jwk, d }, 'EdDSA')
    const assertion = await new SignJWT({
      iss: client.id,
      sub: client.id,
      aud: 'http://gateway.test/auth/token',
      jti: 'id123456',
      exp: now() + 60,
    })
      .setProtectedHeader({ alg: 'EdDSA', kid: '22' })
      .sign(key)
    const body = `grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=${assertion}`
    expect((await post(gateway, '/auth/token', body)).status).toBe(200)
  })

  it('the example assertion of RFC 7521 §4.2 names a method that is not supported, and the truncated assertion of RFC 7523 §2.2 is of no client', async () => {
    const saml = 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer'
    const form = { grant_type: 'client_credentials', client_assertion_type: saml, client_assertion: 'PHNhbW' }
    expect((await post(gateway, '/auth/token', form)).body.error).toBe('invalid_request')
    await refused('eyJhbGciOiJSUzI1NiIsImtpZCI6IjIyIn0.eyJpc3Mi.cC4hiUPo')
  })
})

describe('an assertion is refused', () => {
  it.each<[string, () => Record<string, unknown>]>([
    ['for another audience', () => ({ aud: 'https://other.test' })],
    ['for the audience of access tokens', () => ({ aud: 'api' })],
    ['for us and somebody else', () => ({ aud: ['http://gateway.test', 'https://other.test'] })],
    ['for us twice', () => ({ aud: ['http://gateway.test', 'http://gateway.test/auth/token'] })],
    ['for an audience that only begins as ours', () => ({ aud: 'http://gateway.test/' })],
    ['for no audience', () => ({ aud: undefined })],
    ['for an empty one', () => ({ aud: [] })],
    ['whose sub is another', () => ({ sub: randomUUID() })],
    ['without a sub', () => ({ sub: undefined })],
    ['whose iss is another', () => ({ iss: 'https://other.test' })],
    ['without an iss', () => ({ iss: undefined })],
    ['of nobody that is known', () => ({ iss: '01900000-0000-7000-8000-000000000000', sub: '01900000-0000-7000-8000-000000000000' })],
    ['of something that is no id', () => ({ iss: "' OR 1=1 --", sub: "' OR 1=1 --" })],
    ['of a list', () => ({ iss: [machine.id], sub: [machine.id] })],
    ['that has expired', () => ({ exp: now() - 10 })],
    ['without an exp', () => ({ exp: undefined })],
    ['whose exp is a text', () => ({ exp: String(now() + 60) })],
    ['that lives too long', () => ({ exp: now() + 320 })],
    ['that lives for ever', () => ({ exp: Number.MAX_SAFE_INTEGER })],
    ['that is not good yet', () => ({ nbf: now() + 60 })],
    ['that was issued in the future', () => ({ iat: now() + 90, exp: now() + 200 })],
    ['without a jti', () => ({ jti: undefined })],
    ['with an empty jti', () => ({ jti: '' })],
    ['with a jti that is a number', () => ({ jti: 7.5e300 })],
    ['with a jti of NUL', () => ({ jti: 'a\0b' })],
    ['with a long jti', () => ({ jti: 'j'.repeat(256) })],
  ])('%s', async (_, claims) => refused(await assertionOf(machine, claims())))

  it.each(
    [
      ['at+jwt', 'application/at+jwt', 'AT+JWT', 'mfa+jwt', 'assertion+jwt'].map((typ) => ({ typ })),
      [{ jku: 'https://evil.test/jwks' }, { x5u: 'https://evil.test/x' }, { crit: ['exp'], exp: 1 } as object, { kid: 'another' }],
    ].flat(),
  )('with the header %j', async (header) => {
    // jose will not sign some of them
    const text = JSON.stringify({ alg: 'RS256', ...header })
    await refused(await signedText(text, claimsText()))
  })

  it('with a key that it brings along', async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    await refused(await assertionOf({ ...machine, privateKey }, {}, { jwk: await exportJWK(publicKey) }))
    await refused(await assertionOf({ ...machine, privateKey }))
  })

  it('with an algorithm that is not the key’s: none, HS256 by the public key, another of its kind', async () => {
    const claims = claimsText()
    for (const alg of ['none', 'None', 'NONE']) await refused(`${part(JSON.stringify({ alg }))}.${part(claims)}.`)
    await refused(`${part('{"alg":"none"}')}.${part(claims)}.AAAA`)
    const spki = await exportSPKI((await importJWK(machine.jwk, 'RS256', { extractable: true })) as never)
    for (const secret of [spki, spki.trim(), JSON.stringify(machine.jwk), machine.jwk.n!]) {
      const data = `${part('{"alg":"HS256"}')}.${part(claims)}`
      await refused(`${data}.${createHmac('sha256', secret).update(data).digest('base64url')}`)
    }
    await refused(await signedText('{"alg":"RS512"}', claims))
    await refused(await signedText('{"alg":"PS256"}', claims))
    await refused(await signedText('{"alg":["RS256"]}', claims))
  })

  it('by a key that is registered for one algorithm and used with the other', async () => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
    const jwk = { ...(await exportJWK(publicKey)), alg: 'PS256' }
    const client = await newClient(gateway, { jwks: { keys: [jwk] } })
    await refused(await assertionOf({ id: client.id, alg: 'RS256', privateKey, jwk }))
  })

  it('by the key of another client', async () => {
    const other = await newKeyClient(gateway, 'RS256')
    await refused(await assertionOf({ ...other, id: machine.id }))
    await refused(await assertionOf(machine), { client_id: other.id })
  })

  it('of a client that is disabled, or that has no keys', async () => {
    const gone = await newKeyClient(gateway, 'ES256')
    await gateway.app.identity.clients.disable(gone.id, OPERATOR)
    await refused(await assertionOf(gone))
    const { id } = await newClient(gateway)
    await refused(await assertionOf({ ...machine, id }))
  })

  it('whose JSON or base64url can be read in two ways', async () => {
    const [header, claims, signature] = (await assertionOf(machine)).split('.') as [string, string, string]
    for (const text of [
      `${header}.${claims}.${signature}=`,
      `${header}.${claims}.${signature}.`,
      `${header}.${claims}`,
      ` ${header}.${claims}.${signature}`,
    ])
      await refused(text)
    await refused(await signedText('{"alg":"RS256"}', claimsText(`,"aud":"http://gateway.test"`)))
    await refused(await signedText('{"alg":"RS256"}', claimsText(`,"exp":${now() + 30}`)))
    await refused(await signedText('{"alg":"none","alg":"RS256"}', claimsText()))
    await refused(await signedText('{"alg":"RS256"}', `\ufeff${claimsText()}`))
    await refused(await signedText('{"alg":"RS256"}', '[]'))
    await refused(await signedText('[]', claimsText()))
    await refused(await signedText('null', 'null'))
    await refused('x'.repeat(8193))
  })

  it('that is a token of ours', async () => {
    const user = await newUser(gateway)
    const token = await tokenOf(gateway, await newClient(gateway))
    for (const text of [user.token, user.refreshToken, token]) await refused(text)
  })
})

it('JSON is taken as other libraries write it: with blanks and with escapes', async () => {
  await taken(await signedText('{"typ": "JWT",\r\n "alg": "RS256", "kid": "k-RS256"}', claimsText(', "note" : "a\\/b \\u00e9"')))
  await taken(await signedText('{"alg":"RS256","typ":"client-authentication+jwt"}', claimsText()))
})

it('an assertion is good once, of any number that are sent at a time, and at any endpoint', async () => {
  const assertion = await assertionOf(machine)
  const answers = await Promise.all(Array.from({ length: 20 }, () => askWithAssertion(gateway, assertion)))
  expect(answers.filter((a) => a.status === 200)).toHaveLength(1)
  expect(new Set(answers.map((a) => a.body.error))).toEqual(new Set([undefined, 'invalid_client']))
  for (const path of ['/auth/introspect', '/auth/revoke'])
    expect((await post(gateway, path, { token: 'x', client_assertion_type: ASSERTION_TYPE, client_assertion: assertion })).status).toBe(401)
})

it('the jti of one client is not that of another, and is forgotten once the assertion is over', async () => {
  const other = await newKeyClient(gateway, 'RS256')
  const jti = randomUUID()
  await taken(await assertionOf(machine, { jti }))
  await taken(await assertionOf(other, { jti }))
  await rows(gateway, `UPDATE used_tokens SET expires_at = clock_timestamp() - interval '1 second' WHERE jti = $1`, [jti])
  await gateway.app.identity.cleanup()
  expect(await rows(gateway, 'SELECT 1 AS one FROM used_tokens WHERE jti = $1', [jti])).toEqual([])
})

it('each of several keys is accepted; with a kid only the named key', async () => {
  const [a, b] = await Promise.all(['RS256', 'RS256'].map((alg) => generateKeyPair(alg, { extractable: true })))
  const keys = [
    { ...(await exportJWK(a!.publicKey)), kid: 'a' },
    { ...(await exportJWK(b!.publicKey)), kid: 'b' },
  ]
  const { id } = await newClient(gateway, { jwks: { keys } })
  const by = (privateKey: KeyClient['privateKey']) => ({ id, alg: 'RS256', privateKey, jwk: keys[0]! })
  for (const { privateKey } of [a!, b!]) await taken(await assertionOf(by(privateKey)))
  await taken(await assertionOf(by(b!.privateKey), {}, { kid: 'b' }))
  await refused(await assertionOf(by(b!.privateKey), {}, { kid: 'a' }))
})

describe('client authentication', () => {
  it('shows nothing about a client: unknown, disabled, without a secret, wrong secret and malformed get the same answer', async () => {
    const client = await newClient(gateway)
    const off = await newClient(gateway)
    await gateway.app.identity.clients.disable(off.id, OPERATOR)
    const tries = [
      { ...client, secret: 'pcs_wrong' },
      { ...client, secret: client.secret.slice(0, -1) },
      { ...client, secret: `${client.secret}x` },
      off,
      { id: machine.id, secret: 'pcs_x' },
      { id: machine.id, secret: '\0'.repeat(32) },
      { id: '01900000-0000-7000-8000-000000000000', secret: client.secret },
      { id: 'nobody', secret: 'x' },
      { id: '\0', secret: 'x' },
      { id: client.id.toUpperCase(), secret: client.secret },
      { id: '', secret: 'x' },
      { id: client.id, secret: '' },
    ]
    const answers = await Promise.all(tries.map((one) => askForToken(gateway, one)))
    for (const { status, body, headers } of answers)
      expect({ status, body, challenge: headers.get('www-authenticate') }).toEqual({
        status: 401,
        body: { error: 'invalid_client', error_description: 'The client could not be authenticated. Check its id and its credential.' },
        challenge: 'Basic realm="clients"',
      })
  })

  it('none at all, or of another scheme, is refused in the same way', async () => {
    const form = { grant_type: 'client_credentials' }
    const { token } = await newUser(gateway)
    for (const authorization of [undefined, `Bearer ${token}`, 'Basic', 'Basic !!!', 'Basic YQ==', 'Digest x'])
      expect((await post(gateway, '/auth/token', form, authorization === undefined ? {} : { authorization })).body.error).toBe(
        'invalid_client',
      )
    expect((await post(gateway, '/auth/introspect', { token })).body.error).toBe('invalid_client')
  })

  it('by two methods is none, also where both are good', async () => {
    const client = await newClient(gateway)
    const form = { grant_type: 'client_credentials', client_id: client.id, client_secret: client.secret }
    const assertion = { client_assertion_type: ASSERTION_TYPE, client_assertion: await assertionOf(machine) }
    for (const [fields, headers] of [
      [form, basic(client)],
      [{ ...form, ...assertion }, {}],
      [{ grant_type: 'client_credentials', ...assertion }, basic(client)],
      [{ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE }, basic(client)],
    ] as const)
      expect(await post(gateway, '/auth/token', fields, headers)).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
    // … and was not used up
    await taken(assertion.client_assertion)
  })

  it('reads Basic as RFC 6749 §2.3.1 writes it: each part encoded as in a form', async () => {
    const client = await newClient(gateway)
    const encoded = { id: client.id.replaceAll('-', '%2D'), secret: client.secret.replaceAll('_', '%5f') }
    expect((await askForToken(gateway, encoded)).status).toBe(200)
  })

  it('failures are counted by address before any work; a good one costs nothing, and is served beside them', async () => {
    const limited = await startGateway({
      clock: stillClock(),
      config: {
        server: { trustedProxies: ['127.0.0.1/32'] },
        limits: { exempt: [], credentials: { client: { limit: 4, windowSeconds: 3600 } } },
      },
    })
    const client = await newClient(limited)
    const address = newAddress()
    const ask = async (path: string, secret: string, at = address) =>
      (await post(limited, path, { grant_type: 'client_credentials', token: 'x' }, { ...basic({ ...client, secret }), ...from(at) })).status
    for (let i = 0; i < 10; i++) expect(await ask('/auth/token', client.secret)).toBe(200)
    for (const path of ['/auth/token', '/auth/introspect', '/auth/revoke', '/auth/token']) expect(await ask(path, 'wrong')).toBe(401)
    expect(await ask('/auth/token', client.secret)).toBe(200)
    const wrong = { ...basic({ ...client, secret: 'wrong' }), ...from(address) }
    const storm = await Promise.all(
      Array.from({ length: 80 }, () => post(limited, '/auth/token', { grant_type: 'client_credentials' }, wrong)),
    )
    expect(storm.filter(({ status }) => status === 401)).toHaveLength(50)
    const answer = storm.find(({ status }) => status !== 401)!
    expect({ status: answer.status, error: answer.body.error }).toEqual({ status: 429, error: 'temporarily_unavailable' })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await ask('/auth/token', client.secret, newAddress())).toBe(200)
    await limited.close()
  })
})

it('a token of a machine that says it is a person, or the other way about, is no token', async () => {
  const machineToken = claimsOf(await tokenOf(gateway, await newClient(gateway)))
  const personal = claimsOf((await newUser(gateway)).token)
  const { privateKey, algorithm, kid } = gateway.app.identity.keyring.signing()
  const verify = async (claims: object) => {
    const token = await new SignJWT({ ...claims }).setProtectedHeader({ alg: algorithm, kid, typ: 'at+jwt' }).sign(privateKey)
    return (await call(gateway, '/auth/me', { token })).status
  }
  expect(await verify(machineToken)).toBe(403)
  expect(await verify(personal)).toBe(200)
  const { client_id: _, ...anonymous } = machineToken
  // as before user tokens named a client
  const { client_id: ours, ...older } = personal
  expect(ours).toBe('portcullis')
  expect(await verify(older)).toBe(200)
  for (const claims of [
    anonymous,
    { ...machineToken, client_id: personal.sub },
    { ...machineToken, client_id: null },
    { ...machineToken, amr: ['pwd', 'otp'] },
    { ...machineToken, auth_time: now() },
    { ...personal, client_id: personal.sub },
    { ...personal, client_id: '' },
    { ...personal, client_id: 'another-client' },
    { ...personal, client_id: ['portcullis'] },
    { ...machineToken, client_id: 'portcullis' },
  ])
    expect(await verify(claims)).toBe(401)
})
