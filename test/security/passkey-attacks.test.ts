/** Attacks on passkeys: every answer that is not exactly right is refused, and nothing changes. */
import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Wrong } from '../support/authenticator.ts'
import { call, login, newUser, type TestUser } from '../support/client.ts'
import { type Gateway, stillClock } from '../support/gateway.ts'
import { mailsTo, tokenOf } from '../support/mails.ts'
import { addPasskey, beginSigning, newAuthenticator, newPasskeyUser, sign, startPasskeyGateway, verify } from '../support/passkeys.ts'
import { until } from '../support/processes.ts'
import { rows } from '../support/rows.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startPasskeyGateway()
})
afterAll(() => gateway.close())

const refused = { status: 401, body: { code: 'passkey_refused' } }
const firstStep = async ({ username, password }: TestUser): Promise<string> =>
  (await call(gateway, '/auth/login', { body: { login: username, password } })).body.mfa_token
const { privateKey: otherKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const base64url = (text: string) => Buffer.from(text).toString('base64url')

const WRONG_ANYWHERE: [what: string, wrong: Wrong][] = [
  ['of a page of another site', { origin: 'https://gateway.test.evil.example' }],
  ['of a sub-domain', { origin: 'https://evil.gateway.test' }],
  ['of the same host over plain http', { origin: 'http://gateway.test' }],
  ['of another port', { origin: 'https://gateway.test:8443' }],
  ['of no origin', { origin: 'null' }],
  ['for another rpId', { rpId: 'evil.example' }],
  ['for a parent domain', { rpId: 'test' }],
  ['for a challenge of its own', { challenge: base64url('a challenge of the attacker') }],
  ['for an empty challenge', { challenge: '' }],
  ['of the wrong kind', { type: 'payment.get' }],
  ['in a frame of another site', { crossOrigin: true }],
  ['without the presence of a user', { isPresent: false }],
  ['without a verified user', { isVerified: false }],
]

describe('a login is refused', () => {
  let victim: Awaited<ReturnType<typeof newPasskeyUser>>
  beforeAll(async () => {
    victim = await newPasskeyUser(gateway)
  })

  it.each<[string, Wrong]>([
    ...WRONG_ANYWHERE,
    ['that is a registration', { type: 'webauthn.create' }],
    ['signed by another key', { key: otherKey }],
    ['whose flag BE has changed', { isSynced: true }],
    ['that names no user', { userHandle: null }],
    ['that names another user', { userHandle: base64url('somebody else') }],
    ['that names its user by the id', { userHandle: '' }],
  ])('%s', async (_what, wrong) => {
    expect(await sign(gateway, victim.device, { wrong })).toMatchObject(refused)
    expect(await sign(gateway, victim.device)).toMatchObject({ status: 200, body: { user: { id: victim.user.id } } })
  })

  it('that was made in a frame of another site', async () => {
    const { flow_token, options } = (await beginSigning(gateway)).body
    const credential = victim.device.get(options)
    const clientData = JSON.parse(Buffer.from(credential.response.clientDataJSON, 'base64url').toString())
    const framed = { ...clientData, crossOrigin: true, topOrigin: 'https://evil.example' }
    credential.response.clientDataJSON = base64url(JSON.stringify(framed))
    expect(await verify(gateway, { body: { flow_token, credential } })).toMatchObject(refused)
  })

  it.each([
    ['id', (c: any) => ({ ...c, id: base64url('unknown'), rawId: base64url('unknown') })],
    ['id and rawId that differ', (c: any) => ({ ...c, rawId: base64url('unknown') })],
    ['signature', (c: any) => ({ ...c, response: { ...c.response, signature: base64url('no signature') } })],
    ['authenticator data', (c: any) => ({ ...c, response: { ...c.response, authenticatorData: base64url('short') } })],
    [
      'authenticator data that is longer',
      (c: any) => ({ ...c, response: { ...c.response, authenticatorData: `${c.response.authenticatorData}AAAA` } }),
    ],
    ['client data that is no JSON', (c: any) => ({ ...c, response: { ...c.response, clientDataJSON: base64url('{') } })],
    ['client data that is null', (c: any) => ({ ...c, response: { ...c.response, clientDataJSON: base64url('null') } })],
    ['client data that is a list', (c: any) => ({ ...c, response: { ...c.response, clientDataJSON: base64url('[]') } })],
    ['client data that is not base64url', (c: any) => ({ ...c, response: { ...c.response, clientDataJSON: '%%%' } })],
    ['empty parts', (c: any) => ({ ...c, response: { clientDataJSON: '', authenticatorData: '', signature: '' } })],
  ])('with another %s', async (_what, change) => {
    const { flow_token, options } = (await beginSigning(gateway)).body
    expect(await verify(gateway, { body: { flow_token, credential: change(victim.device.get(options)) } })).toMatchObject(refused)
  })

  it('whose count of signatures falls or stays, and the audit log says so', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    expect((await sign(gateway, device, { wrong: { count: 7 } })).status).toBe(200)
    for (const count of [7, 6, 0]) expect(await sign(gateway, device, { wrong: { count } })).toMatchObject(refused)
    expect((await sign(gateway, device, { wrong: { count: 8 } })).status).toBe(200)
    const audited = `SELECT detail FROM audit_log WHERE user_id = $1 AND event = 'login' AND outcome = 'passkey_refused' ORDER BY id`
    expect((await rows(gateway, audited, [user.id])).map(({ detail }) => detail)).toEqual(
      [7, 6, 0].map((count) => `the count of signatures has fallen from 7 to ${count}`),
    )
  })

  it('whose count falls in the second step, or in a new proof, which the audit log says, too', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const { access_token: token } = (await sign(gateway, device, { wrong: { count: 9 } })).body
    expect(await sign(gateway, device, { mfaToken: await firstStep(user), wrong: { count: 2 } })).toMatchObject(refused)
    expect(await sign(gateway, device, { token, wrong: { count: 3 } })).toMatchObject(refused)
    const audited = `SELECT event, detail FROM audit_log WHERE user_id = $1 AND outcome = 'passkey_refused' ORDER BY id`
    expect(await rows(gateway, audited, [user.id])).toEqual([
      { event: 'login', detail: 'the count of signatures has fallen from 9 to 2' },
      { event: 'reauthenticate', detail: 'the count of signatures has fallen from 9 to 3' },
    ])
  })

  it('with a body that is none', async () => {
    const { flow_token, options } = (await beginSigning(gateway)).body
    const credential = victim.device.get(options)
    for (const body of [
      {},
      { flow_token },
      { credential },
      { flow_token, credential: null },
      { flow_token, credential: { ...credential, type: 'password' } },
      { flow_token, credential: { ...credential, response: {} } },
      { flow_token: 7, credential },
      { flow_token, credential: { ...credential, id: 'x'.repeat(2000) } },
      { flow_token, credential, unknown: 1 },
    ])
      expect((await verify(gateway, { body })).status).toBe(422)
    // none of them has used the challenge up
    expect((await verify(gateway, { body: { flow_token, credential } })).status).toBe(200)
  })
})

describe('a challenge', () => {
  it('works once, also when it is sent many times at once', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const { flow_token, options } = (await beginSigning(gateway)).body
    const credential = device.get(options)
    const before = await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [user.id])
    const answers = await Promise.all(Array.from({ length: 10 }, () => verify(gateway, { body: { flow_token, credential } })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array.from({ length: 9 }, () => 401)])
    expect((await verify(gateway, { body: { flow_token, credential } })).status).toBe(401)
    const after = await rows(gateway, 'SELECT id FROM sessions WHERE user_id = $1', [user.id])
    expect(after.length - before.length).toBe(1)
  })

  it('of an authenticator that does not count works once, too', async () => {
    const { device } = await newPasskeyUser(gateway)
    const { flow_token, options } = (await beginSigning(gateway)).body
    const credential = device.get(options, { count: 0 })
    const answers = await Promise.all(Array.from({ length: 10 }, () => verify(gateway, { body: { flow_token, credential } })))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  it('ends after five minutes', async () => {
    const { device } = await newPasskeyUser(gateway)
    const [early, late] = [(await beginSigning(gateway)).body, (await beginSigning(gateway)).body]
    const answer = ({ flow_token, options }: any) => verify(gateway, { body: { flow_token, credential: device.get(options) } })
    gateway.clock.advance(295_000)
    expect((await answer(early)).status).toBe(200)
    gateway.clock.advance(6000)
    expect(await answer(late)).toMatchObject(refused)
    gateway.clock.advance(-301_000)
  })

  it('belongs to its flow token', async () => {
    const { device } = await newPasskeyUser(gateway)
    const [one, other] = [(await beginSigning(gateway)).body, (await beginSigning(gateway)).body]
    const credential = device.get(one.options)
    const later = `9999999999.${one.flow_token.split('.')[1]}`
    for (const flow_token of [other.flow_token, later, '', 'x', one.flow_token.slice(0, -1), `${one.flow_token}A`])
      expect((await verify(gateway, { body: { flow_token, credential } })).status).toBe(401)
    expect((await verify(gateway, { body: { flow_token: one.flow_token, credential } })).status).toBe(200)
  })

  it('belongs to its purpose and to its holder', async () => {
    const [ann, bob] = [await newPasskeyUser(gateway), await newPasskeyUser(gateway)]
    const [annToken, bobToken] = [(await sign(gateway, ann.device)).body.access_token, (await sign(gateway, bob.device)).body.access_token]
    const [annMfa, bobMfa] = [await firstStep(ann.user), await firstStep(bob.user)]
    const kinds = [{}, { mfaToken: annMfa }, { token: annToken }]
    for (const begunFor of kinds)
      for (const usedFor of [...kinds, { mfaToken: bobMfa }, { token: bobToken }]) {
        if (begunFor === usedFor) continue
        const { flow_token, options } = (await beginSigning(gateway, begunFor)).body
        const credential = ann.device.get(options)
        expect(await verify(gateway, { ...usedFor, body: { flow_token, credential } })).toMatchObject(refused)
      }
  })

  it('of a registration logs nobody in, and the other way round', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const { access_token: token } = (await sign(gateway, device)).body
    const toAdd = (await call(gateway, '/auth/passkeys/register/options', { token, body: {} })).body
    const signed = device.get({ ...toAdd.options, rpId: 'gateway.test' })
    expect(await verify(gateway, { body: { flow_token: toAdd.flow_token, credential: signed } })).toMatchObject(refused)
    const toLogIn = (await beginSigning(gateway)).body
    const credential = newAuthenticator().create({ rp: { id: 'gateway.test' }, user: { id: 'x' }, challenge: toLogIn.options.challenge })
    const body = { flow_token: toLogIn.flow_token, credential }
    expect(await call(gateway, '/auth/passkeys/register/verify', { token, body })).toMatchObject(refused)
    expect(await rows(gateway, 'SELECT id FROM passkeys WHERE user_id = $1', [user.id])).toHaveLength(1)
  })
})

describe('a registration is refused', () => {
  let user: TestUser
  beforeAll(async () => {
    user = await newUser(gateway)
  })

  it.each<[string, Wrong]>([...WRONG_ANYWHERE, ['that is a login', { type: 'webauthn.get' }]])('%s', async (_what, wrong) => {
    expect(await addPasskey(gateway, user, newAuthenticator(), { wrong })).toMatchObject(refused)
    expect(await rows(gateway, 'SELECT id FROM passkeys WHERE user_id = $1', [user.id])).toEqual([])
  })

  it('by another session, also of the same user', async () => {
    const here = await login(gateway, user)
    const stranger = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: here.token, body: {} })).body
    const body = { flow_token, credential: newAuthenticator().create(options) }
    for (const { token } of [user, stranger])
      expect(await call(gateway, '/auth/passkeys/register/verify', { token, body })).toMatchObject(refused)
    expect((await call(gateway, '/auth/passkeys/register/verify', { body })).body.code).toBe('token_missing')
  })

  it('by a session that has ended since', async () => {
    const other = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: other.token, body: {} })).body
    await call(gateway, '/auth/logout', { method: 'POST', token: other.token })
    const body = { flow_token, credential: newAuthenticator().create(options) }
    expect((await call(gateway, '/auth/passkeys/register/verify', { token: other.token, body })).status).toBe(401)
  })

  it('a second time', async () => {
    const other = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: other.token, body: {} })).body
    const device = newAuthenticator()
    const send = () =>
      call(gateway, '/auth/passkeys/register/verify', { token: other.token, body: { flow_token, credential: device.create(options) } })
    const answers = await Promise.all([send(), send(), send()])
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  it('of an API key, however many rights it has', async () => {
    const other = await newUser(gateway)
    const { key } = (await call(gateway, '/auth/api-keys', { token: other.token, body: { name: 'ci' } })).body
    for (const path of ['/auth/passkeys/register/options', '/auth/passkeys'])
      expect((await call(gateway, path, { token: key, ...(path.endsWith('options') && { body: {} }) })).status).toBe(403)
  })
})

describe('who has an account', () => {
  it('no step of a login shows', async () => {
    const shapes = await Promise.all(Array.from({ length: 3 }, async () => (await beginSigning(gateway)).body))
    for (const { options } of shapes) expect(Object.keys(options).sort()).toEqual(Object.keys(shapes[0].options).sort())
    const { user } = await newPasskeyUser(gateway)
    for (const login of [user.username, 'nobody'])
      expect((await call(gateway, '/auth/passkeys/login/options', { body: { login } })).status).toBe(422)
  })

  it('refusals are counted by address, at the pace of secrets that nobody can guess', async () => {
    const strict = await startPasskeyGateway({
      clock: stillClock(),
      config: { limits: { exempt: [], credentials: { passkey: { limit: 5, windowSeconds: 600 } } } },
    })
    const { device } = await newPasskeyUser(strict)
    const nothing = { flow_token: 'x', credential: { ...device.get((await beginSigning(strict)).body.options), id: base64url('unknown') } }
    const answers = await Promise.all(Array.from({ length: 80 }, () => verify(strict, { body: nothing })))
    const refusals = answers.filter(({ status }) => status === 429)
    expect(refusals.length).toBeGreaterThan(0)
    expect(refusals.every(({ headers }) => Number(headers.get('retry-after')) > 0)).toBe(true)
    await strict.close()
  })
})

it('a person who registered with the address of another loses the passkey when its owner proves the address', async () => {
  const stranger = await newPasskeyUser(gateway)
  await call(gateway, '/auth/password/forgot', { body: { email: stranger.user.email } })
  const mail = await until(
    async () => (await mailsTo(gateway, stranger.user.email)).find(({ template }) => template === 'reset_password'),
    'the mail',
  )
  const body = { token: tokenOf(mail), new_password: 'a password of the owner' }
  expect((await call(gateway, '/auth/password/reset', { body })).status).toBeLessThan(300)
  expect(await sign(gateway, stranger.device)).toMatchObject(refused)
  const { body: entered } = await call(gateway, '/auth/login', { body: { login: stranger.user.email, password: body.new_password } })
  expect(entered.user).toMatchObject({ id: stranger.user.id, mfa_enabled: false })
})
