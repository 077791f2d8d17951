/** Attacks on what a session has shown: factors of yesterday, of earlier cookies and of other sessions, and passkeys that are made in the wrong way. */
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { from, newAddress } from '../support/addresses.ts'
import { COOKIE, cookieFrom, SAME_ORIGIN } from '../support/browser-session.ts'
import { call, newUser, proveAddress } from '../support/client.ts'
import { startFakeProvider } from '../support/fake-provider.ts'
import { useKeep } from '../support/fixtures.ts'
import type { Gateway } from '../support/gateway.ts'
import { startGateway } from '../support/gateway.ts'
import { mailsTo } from '../support/mails.ts'
import { addPasskey, beginSigning, newAuthenticator, newPasskeyUser, sign, startPasskeyGateway, verify } from '../support/passkeys.ts'
import { until } from '../support/processes.ts'
import { rows } from '../support/rows.ts'
import { claimsOf, refresh } from '../support/session.ts'
import { ORIGIN, startSignInGateway } from '../support/sign-in.ts'
import { codeOf, enrol, mfaToken, newFactorUser } from '../support/totp.ts'

const keep = useKeep()
const passkeyGateway = (auth: object = {}): Promise<Gateway> =>
  keep(startPasskeyGateway({ config: { auth: { passkeys: { enabled: true }, ...auth } } }))

const base64url = (data: Buffer | string) => Buffer.from(data).toString('base64url')
const { privateKey: otherKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** A whole registration, whose credential id has this length. */
function attestationOf(options: any, idLength: number) {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x, y } = publicKey.export({ format: 'jwk' })
  const bytes = (value: Buffer) => Buffer.concat([Buffer.from([0x59, value.length >> 8, value.length & 255]), value])
  const text = (value: string) => Buffer.concat([Buffer.from([0x60 | value.length]), Buffer.from(value)])
  const cose = Buffer.concat([
    Buffer.from([0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]),
    Buffer.from(x!, 'base64url'),
    Buffer.from([0x22, 0x58, 32]),
    Buffer.from(y!, 'base64url'),
  ])
  const id = randomBytes(idLength)
  const authData = Buffer.concat([
    createHash('sha256').update('gateway.test').digest(),
    Buffer.from([0x45, 0, 0, 0, 0]),
    Buffer.alloc(16),
    Buffer.from([id.length >> 8, id.length & 255]),
    id,
    cose,
  ])
  const object = Buffer.concat([
    Buffer.from([0xa3]),
    text('fmt'),
    text('none'),
    text('attStmt'),
    Buffer.from([0xa0]),
    text('authData'),
    bytes(authData),
  ])
  const shown = base64url(id.subarray(0, 32))
  return {
    id: shown,
    rawId: shown,
    type: 'public-key',
    response: {
      clientDataJSON: base64url(
        JSON.stringify({ type: 'webauthn.create', challenge: options.challenge, origin: 'https://gateway.test', crossOrigin: false }),
      ),
      attestationObject: base64url(object),
    },
  }
}

describe('a ceremony in a frame of another site (WebAuthn L3 §7.1 step 10, §7.2 step 12)', () => {
  it('makes no passkey', async () => {
    const gateway = await passkeyGateway()
    const user = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: user.token, body: {} })).body
    const credential = newAuthenticator().create(options)
    const data = JSON.parse(Buffer.from(credential.response.clientDataJSON, 'base64url').toString())
    credential.response.clientDataJSON = base64url(JSON.stringify({ ...data, crossOrigin: true, topOrigin: 'https://evil.example' }))
    const { status } = await call(gateway, '/auth/passkeys/register/verify', { token: user.token, body: { flow_token, credential } })
    expect(status).toBe(401)
  })

  it('logs nobody in, also where the browser names no top origin', async () => {
    const gateway = await passkeyGateway()
    const { device } = await newPasskeyUser(gateway)
    expect((await sign(gateway, device, { wrong: { crossOrigin: true } })).status).toBe(401)
  })
})

describe('clocks that differ', () => {
  it('let nobody use an assertion twice: the clean-up goes by the clock of the database', async () => {
    const gateway = await passkeyGateway()
    const { device } = await newPasskeyUser(gateway)
    // the gateway is 5 minutes behind the database. MARGIN_SECONDS of revoke-sessions.ts allows for 10
    gateway.clock.advance(-300_000)
    const { flow_token, options } = (await beginSigning(gateway)).body
    const credential = device.get(options, { count: 0 })
    const first = await verify(gateway, { body: { flow_token, credential } })
    await gateway.app.identity.cleanup()
    const again = await verify(gateway, { body: { flow_token, credential } })
    expect([first.status, again.status]).toEqual([200, 401])
  })
})

describe('what a session has shown', () => {
  const browserGateway = () =>
    keep(
      startGateway({
        config: { server: { publicUrl: 'http://localhost' }, auth: { browser: { enabled: true }, passkeys: { enabled: true } } },
      }),
    )
  const at = (gateway: Gateway) => ({ ...gateway, url: gateway.url.replace('127.0.0.1', 'localhost') })

  it('is not given to an earlier value of its cookie, which has shown less', async () => {
    const gateway = at(await browserGateway())
    const user = await newUser(gateway)
    const by = (cookie: string, path: string, body: object, method = 'POST') =>
      call(gateway, path, { method, body, headers: { ...SAME_ORIGIN, cookie: `${COOKIE}=${cookie}` } })
    const body = { login: user.username, password: user.password, session: 'cookie' }
    const before = cookieFrom(await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN }))!
    const { secret } = (await by(before, '/auth/mfa/totp', { password: user.password })).body
    const after = cookieFrom(await by(before, '/auth/mfa/totp/confirm', { code: codeOf(secret, -1) }))!
    const device = newAuthenticator({ origin: 'http://localhost' })
    const { flow_token, options } = (await by(after, '/auth/passkeys/register/options', {})).body
    const added = await by(after, '/auth/passkeys/register/verify', { flow_token, credential: device.create(options) })
    expect(added.status).toBe(200)
    const amrs = () =>
      rows(
        gateway,
        `SELECT c.amr, superseded_at IS NULL AS current FROM session_cookies c JOIN sessions s ON s.id = c.session_id WHERE s.user_id = $1 ORDER BY c.id`,
        [user.id],
      )
    const expected = [
      { amr: ['pwd'], current: false },
      { amr: ['pwd', 'otp', 'mfa'], current: true },
    ]
    expect(await amrs()).toEqual(expected)
    expect((await by(after, `/auth/passkeys/${added.body.passkey.id}`, {}, 'DELETE')).status).toBe(204)
    // the value that has shown a password alone removes the second factor
    const removed = await by(before, '/auth/mfa/totp', {}, 'DELETE')
    expect([removed.status, await amrs()]).toEqual([401, expected])
  })

  it('a factor of yesterday is no recent factor after a sign-in with the provider alone', async () => {
    const provider = await keep(startFakeProvider())
    const gateway = await keep(startSignInGateway({ openId: provider }))
    const agent = gateway.agent()
    await gateway.signIn(agent)
    const headers = () => ({
      cookie: [...agent.cookies.get(ORIGIN)!].map(([name, value]) => `${name}=${value}`).join('; '),
      'sec-fetch-site': 'same-origin',
    })
    const { secret } = (await call(gateway, '/auth/mfa/totp', { headers: headers(), body: {} })).body
    const confirmed = await call(gateway, '/auth/mfa/totp/confirm', { headers: headers(), body: { code: codeOf(secret, -1) } })
    const raised = cookieFrom(confirmed, '__Host-portcullis')!
    agent.cookies.get(ORIGIN)!.set('__Host-portcullis', raised)
    for (const table of ['sessions', 'session_cookies']) await rows(gateway, `UPDATE ${table} SET auth_time = now() - interval '1 day'`)
    await rows(gateway, 'UPDATE users SET token_epoch = token_epoch + 1')
    await gateway.signIn(agent, 'acme', '?reauthenticate=1')
    const [cookie] = await rows(
      gateway,
      "SELECT amr, auth_time > now() - interval '1 minute' AS is_fresh FROM session_cookies WHERE superseded_at IS NULL",
    )
    // the provider alone removes the second factor
    const removed = await call(gateway, '/auth/mfa/totp', { method: 'DELETE', headers: headers(), body: {} })
    expect([removed.status, cookie]).not.toEqual([204, { amr: ['fed', 'otp', 'mfa'], is_fresh: true }])
    expect(removed.status).toBe(401)
  })
})

describe('a passkey', () => {
  it('that was begun before there was a factor is not added beside a factor that was never shown', async () => {
    const gateway = await passkeyGateway()
    const user = await newUser(gateway)
    // somebody else holds the access token of this session
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: user.token, body: {} })).body
    await enrol(gateway, user)
    const body = { flow_token, credential: newAuthenticator().create(options) }
    const { status } = await call(gateway, '/auth/passkeys/register/verify', { token: user.token, body })
    expect([status, await rows(gateway, 'SELECT 1 FROM passkeys WHERE user_id = $1', [user.id])]).toEqual([401, []])
  })

  it('that became the first factor is asked for by the confirmation of an app that was begun before', async () => {
    const gateway = await passkeyGateway()
    const user = await newUser(gateway)
    // somebody else holds the access token of this session, and the password
    const { secret } = (await call(gateway, '/auth/mfa/totp', { token: user.token, body: { password: user.password } })).body
    expect((await addPasskey(gateway, user, newAuthenticator())).status).toBe(200)
    // this access token has shown a password alone
    const { status, body } = await call(gateway, '/auth/mfa/totp/confirm', { token: user.token, body: { code: codeOf(secret) } })
    expect([status, body.code, body.backup_codes]).toEqual([409, 'mfa_not_enabled', undefined])
  })

  it.each([1024, 2000, 5000])('with an id of %i bytes is refused (WebAuthn L3 §7.1 step 25)', async (length) => {
    const gateway = await passkeyGateway()
    const user = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: user.token, body: {} })).body
    const body = { flow_token, credential: attestationOf(options, length) }
    const { status } = await call(gateway, '/auth/passkeys/register/verify', { token: user.token, body })
    expect([401, 422]).toContain(status)
  })

  it('whose id is another than that of the answer is refused', async () => {
    const gateway = await passkeyGateway()
    const user = await newUser(gateway)
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token: user.token, body: {} })).body
    const credential = { ...attestationOf(options, 32), id: base64url('another'), rawId: base64url('another') }
    const { status } = await call(gateway, '/auth/passkeys/register/verify', { token: user.token, body: { flow_token, credential } })
    expect([401, 422]).toContain(status)
  })

  it('of an old rpId is no factor that is left: who removes the app is not left with backup codes alone', async () => {
    const gateway = await passkeyGateway()
    const user = await newFactorUser(gateway)
    expect((await addPasskey(gateway, user, newAuthenticator())).status).toBe(200)
    await rows(gateway, `UPDATE passkeys SET rp_id = 'old.example' WHERE user_id = $1`, [user.id])
    const { status } = await call(gateway, '/auth/mfa/totp', { method: 'DELETE', token: user.token, body: { code: codeOf(user.secret) } })
    expect(status).toBe(204)
    const { body } = await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
    expect(body.methods ?? []).not.toEqual(['backup_code'])
  })

  it('is no code: wrong codes of a person who knows the password do not keep its owner out', async () => {
    const gateway = await passkeyGateway()
    const { user, device } = await newPasskeyUser(gateway)
    let refusals = 0
    for (let i = 0; i < 60 && refusals < 3; i++) {
      const { status } = await call(gateway, '/auth/login/mfa', { body: { mfa_token: await mfaToken(gateway, user), code: '000000' } })
      if (status === 429) refusals++
    }
    expect(refusals).toBe(3)
    expect((await sign(gateway, device, { mfaToken: await mfaToken(gateway, user) })).status).toBe(200)
  })

  it('that is refused is in the audit log, as a wrong password is', async () => {
    const gateway = await passkeyGateway()
    const { user, device } = await newPasskeyUser(gateway)
    const audited = () => rows(gateway, `SELECT outcome FROM audit_log WHERE user_id = $1 AND outcome = 'passkey_refused'`, [user.id])
    await sign(gateway, device, { wrong: { key: otherKey } })
    const login1 = (await audited()).length
    // the key was copied: the second step sees that the count has fallen
    expect((await sign(gateway, device, { wrong: { count: 7 } })).status).toBe(200)
    expect((await sign(gateway, device, { mfaToken: await mfaToken(gateway, user), wrong: { count: 6 } })).status).toBe(401)
    const secondStep = (await audited()).length - login1
    expect({ login: login1, secondStep }).toEqual({ login: 1, secondStep: 1 })
  })

  it.each(['\0', 'a\nb'])('gets no name with control characters on the page either: %j', async (name) => {
    const gateway = await keep(
      startGateway({
        config: { server: { publicUrl: 'http://localhost' }, auth: { browser: { enabled: true }, passkeys: { enabled: true } } },
      }),
    )
    const here = { ...gateway, url: gateway.url.replace('127.0.0.1', 'localhost') }
    const user = await newUser(here)
    const added = await addPasskey(here, user, newAuthenticator({ origin: 'http://localhost' }))
    expect(added.status).toBe(200)
    // a session by cookie: the first factor is shown by a backup code
    const body1 = { login: user.username, password: user.password }
    const { mfa_token } = (await call(here, '/auth/login', { body: body1 })).body
    const entered = await call(here, '/auth/login/mfa', {
      headers: SAME_ORIGIN,
      body: { mfa_token, code: added.body.backup_codes[0], session: 'cookie' },
    })
    const cookie = cookieFrom(entered)!
    const fields = new URLSearchParams({ action: `rename-${added.body.passkey.id}`, name })
    const answer = await fetch(`${here.url}/auth/ui/account/passkeys`, {
      method: 'POST',
      body: fields,
      redirect: 'manual',
      headers: {
        'sec-fetch-site': 'same-origin',
        'sec-fetch-mode': 'navigate',
        'sec-fetch-dest': 'document',
        cookie: `${COOKIE}=${cookie}`,
      },
    })
    expect(answer.status).toBe(422)
  })
})

it('a name that somebody else gave a passkey puts no address into the notice to its owner', async () => {
  const gateway = await passkeyGateway()
  const user = await newUser(gateway)
  await proveAddress(gateway, user)
  expect((await addPasskey(gateway, user, newAuthenticator(), { name: 'Not you? Go to https://evil.example/undo now' })).status).toBe(200)
  const mail = await until(
    async () => (await mailsTo(gateway, user.email)).find(({ template }) => template === 'passkey_added'),
    'the notice',
  )
  expect(JSON.stringify(mail.data)).not.toContain('evil.example')
})

it('the session that removes its hardware key says no longer that it was shown: only a synced passkey is left', async () => {
  const gateway = await passkeyGateway()
  const { device, added } = await newPasskeyUser(gateway)
  const entered = (await sign(gateway, device)).body
  const token = entered.access_token
  expect((await addPasskey(gateway, { token }, newAuthenticator({ isSynced: true }))).status).toBe(200)
  expect((await call(gateway, `/auth/passkeys/${added.passkey.id}`, { method: 'DELETE', token, body: {} })).status).toBe(204)
  const { body } = await refresh(gateway, entered.refresh_token)
  expect(claimsOf(body.access_token).amr).not.toContain('hwk')
})

it('refused passkeys keep no valid passkey of the same network out: nobody guesses one', async () => {
  const passkey = { limit: 5, windowSeconds: 600 }
  const gateway = await keep(
    startPasskeyGateway({
      config: { server: { trustedProxies: ['127.0.0.1/32'] }, limits: { exempt: [], credentials: { passkey } } },
    }),
  )
  const { device } = await newPasskeyUser(gateway)
  const office = from(newAddress())
  const response = { clientDataJSON: '', authenticatorData: '', signature: '' }
  const nothing = { flow_token: 'x', credential: { id: 'eHh4', rawId: 'eHh4', type: 'public-key', response } }
  for (let i = 0; i < 6; i++) await call(gateway, '/auth/passkeys/login/verify', { body: nothing, headers: office })
  const { flow_token, options } = (await beginSigning(gateway)).body
  const body = { flow_token, credential: device.get(options) }
  expect((await call(gateway, '/auth/passkeys/login/verify', { body, headers: office })).status).toBe(200)
})
