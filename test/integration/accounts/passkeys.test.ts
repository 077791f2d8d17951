/** Passkeys: to log in, as second factor, to prove who the user is; and how users keep them. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { call, login, newUser, newUserWithRoles, OPERATOR, proveAddress } from '../../support/client.ts'
import type { Gateway } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { addPasskey, beginSigning, newAuthenticator, newPasskeyUser, sign, startPasskeyGateway } from '../../support/passkeys.ts'
import { rows } from '../../support/rows.ts'
import { claimsOf, me, refresh } from '../../support/session.ts'
import { codeOf, enrol } from '../../support/totp.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let gateway: Gateway
let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
  const route = (name: string, access: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access })
  gateway = await startPasskeyGateway({
    routes: [route('strong', { mfa: true }), route('recent', { maxAuthAgeSeconds: 60 })],
    config: { auth: { mfa: { requiredForRoles: ['admin'] } } },
  })
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const passwordLogin = (user: { username: string; password: string }) =>
  call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
/** As if the session had begun an hour ago. @returns new tokens of it */
async function aged(session: { access_token: string; refresh_token: string }) {
  await rows(gateway, `UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE id = $1`, [claimsOf(session.access_token).sid])
  return (await refresh(gateway, session.refresh_token)).body as typeof session
}
const tokensOf = (user: { token: string; refreshToken: string }) => ({ access_token: user.token, refresh_token: user.refreshToken })
const templatesTo = async ({ email }: { email: string }) => (await mailsTo(gateway, email)).map(({ template }) => template)
const listed = async (token: string) => (await call(gateway, '/auth/passkeys', { token })).body

describe('a login', () => {
  it('needs the passkey alone, and counts as a second factor', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const { status, body } = await sign(gateway, device)
    expect(status).toBe(200)
    expect(body.user).toMatchObject({ id: user.id, mfa_enabled: true })
    expect(body.device_token).toEqual(expect.any(String))
    expect(claimsOf(body.access_token).amr).toEqual(['hwk', 'user', 'mfa'])
    expect((await call(gateway, '/strong', { token: body.access_token })).status).toBe(200)
    expect((await refresh(gateway, body.refresh_token)).status).toBe(200)
    const audited = `SELECT outcome, detail FROM audit_log WHERE event = 'login' AND user_id = $1`
    expect(await rows(gateway, audited, [user.id])).toEqual([{ outcome: 'success', detail: 'passkey' }])
  })

  it('by a key that may be copied says so', async () => {
    const { device } = await newPasskeyUser(gateway, newAuthenticator({ isSynced: true }))
    const { body } = await sign(gateway, device)
    expect(claimsOf(body.access_token).amr).toEqual(['swk', 'user', 'mfa'])
    expect((await call(gateway, '/strong', { token: body.access_token })).status).toBe(200)
  })

  it('takes any of several devices, and asks the user for a name in no step', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const second = newAuthenticator()
    const signedIn = (await sign(gateway, device)).body
    expect((await addPasskey(gateway, { token: signedIn.access_token }, second, { name: 'Phone' })).status).toBe(200)
    for (const one of [device, second]) expect((await sign(gateway, one)).body.user.id).toBe(user.id)
    const { options } = (await beginSigning(gateway)).body
    expect(options).toMatchObject({ rpId: 'gateway.test', userVerification: 'required' })
    expect(options.allowCredentials ?? []).toEqual([])
  })

  it('of a disabled user is refused like an unknown passkey', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    await gateway.app.identity.administration.disable(user.id, OPERATOR)
    const refused = await sign(gateway, device)
    const unknown = newAuthenticator()
    unknown.create({ rp: { id: 'gateway.test' }, user: { id: 'x' }, challenge: 'x' })
    const strange = await sign(gateway, unknown)
    for (const { status, body } of [refused, strange])
      expect([status, body.code, body.detail]).toEqual([401, 'passkey_refused', strange.body.detail])
  })
})

describe('the first passkey of an account', () => {
  it('gives backup codes, ends the other sessions, and every other way in asks for a factor', async () => {
    const user = await newUser(gateway)
    await proveAddress(gateway, user)
    const elsewhere = await login(gateway, user)
    const here = await login(gateway, user)
    const device = newAuthenticator()
    const { status, body } = await addPasskey(gateway, here, device, { name: 'Laptop' })
    expect(status).toBe(200)
    expect(body.passkey).toMatchObject({ name: 'Laptop', backed_up: false, last_used_at: null })
    expect(body.backup_codes).toHaveLength(10)
    expect(await me(gateway, elsewhere.token)).toBe('token_revoked')
    expect(await me(gateway, here.token)).toBe(200)
    // the next access token of this session shows the factor
    const { body: renewed } = await refresh(gateway, here.refreshToken)
    expect(claimsOf(renewed.access_token).amr).toEqual(['pwd', 'hwk', 'user', 'mfa'])

    const first = await passwordLogin(user)
    expect(first.body).toMatchObject({ mfa_required: true, methods: ['passkey', 'backup_code'] })
    const second = await sign(gateway, device, { mfaToken: first.body.mfa_token, wrong: { isVerified: false } })
    expect(second.status).toBe(200)
    expect(claimsOf(second.body.access_token).amr).toEqual(['pwd', 'hwk', 'user', 'mfa'])

    const again = await passwordLogin(user)
    const byCode = await call(gateway, '/auth/login/mfa', { body: { mfa_token: again.body.mfa_token, code: body.backup_codes[3] } })
    expect([byCode.status, claimsOf(byCode.body.access_token).amr]).toEqual([200, ['pwd', 'otp', 'mfa']])
    expect(await templatesTo(user)).toContain('passkey_added')
  })

  it('fulfils the factor that a role needs', async () => {
    const user = await newUserWithRoles(gateway, ['admin'])
    expect((await call(gateway, '/auth/admin/users', { token: user.token })).body.code).toBe('mfa_required')
    const device = newAuthenticator()
    expect((await addPasskey(gateway, user, device)).status).toBe(200)
    const { body } = await sign(gateway, device)
    expect((await call(gateway, '/auth/admin/users', { token: body.access_token })).status).toBe(200)
  })

  it('is added only with a recent proof, and a later one only with a factor', async () => {
    const user = await newUser(gateway)
    const old = { token: (await aged(tokensOf(user))).access_token }
    const device = newAuthenticator()
    expect((await addPasskey(gateway, old, device)).body.code).toBe('reauthentication_required')
    expect((await addPasskey(gateway, old, device, { current_password: 'wrong password' })).body.code).toBe('invalid_credentials')
    const { status, body } = await addPasskey(gateway, old, device, { current_password: user.password })
    expect(status).toBe(200)
    const another = newAuthenticator()
    const again = (await passwordLogin(user)).body
    const entered = await call(gateway, '/auth/login/mfa', { body: { mfa_token: again.mfa_token, code: body.backup_codes[0] } })
    const session = await aged(entered.body)
    const proof = { current_password: user.password }
    expect((await addPasskey(gateway, { token: session.access_token }, another, proof)).body.code).toBe('reauthentication_required')
    expect((await addPasskey(gateway, { token: session.access_token }, another, { code: body.backup_codes[1] })).status).toBe(200)
  })
})

describe('beside an authenticator app', () => {
  it('either shows the factor, and the account keeps one when the other is removed', async () => {
    const { user, device, added } = await newPasskeyUser(gateway)
    const session = (await sign(gateway, device)).body
    const proof = { password: user.password }
    const { secret } = (await call(gateway, '/auth/mfa/totp', { token: session.access_token, body: proof })).body
    const confirmed = await call(gateway, '/auth/mfa/totp/confirm', { token: session.access_token, body: { code: codeOf(secret) } })
    expect(confirmed.status).toBe(200)
    expect((await passwordLogin(user)).body.methods).toEqual(['totp', 'passkey', 'backup_code'])
    const codes = confirmed.body.backup_codes as string[]
    expect(codes).not.toEqual(added.backup_codes)

    const fresh = (await sign(gateway, device)).body
    expect((await call(gateway, '/auth/mfa/totp', { method: 'DELETE', token: fresh.access_token, body: {} })).status).toBe(204)
    expect((await passwordLogin(user)).body.methods).toEqual(['passkey', 'backup_code'])
    const { mfa_token } = (await passwordLogin(user)).body
    expect((await call(gateway, '/auth/login/mfa', { body: { mfa_token, code: codes[0] } })).status).toBe(200)
  })

  it('backup codes of an app stay valid when a passkey is left alone', async () => {
    const user = await newUser(gateway)
    const { backupCodes } = await enrol(gateway, user)
    const device = newAuthenticator()
    const { mfa_token } = (await passwordLogin(user)).body
    const session = (await call(gateway, '/auth/login/mfa', { body: { mfa_token, code: backupCodes[0] } })).body
    const added = await addPasskey(gateway, { token: session.access_token }, device)
    expect([added.status, added.body.backup_codes]).toEqual([200, undefined])
    const fresh = (await sign(gateway, device)).body
    await call(gateway, '/auth/mfa/totp', { method: 'DELETE', token: fresh.access_token, body: {} })
    const again = (await passwordLogin(user)).body
    expect(again.methods).toEqual(['passkey', 'backup_code'])
    expect((await call(gateway, '/auth/login/mfa', { body: { mfa_token: again.mfa_token, code: backupCodes[1] } })).status).toBe(200)
  })
})

describe('a proof of who the user is', () => {
  it('renews an old login', async () => {
    const { device } = await newPasskeyUser(gateway)
    const session = await aged((await sign(gateway, device)).body)
    expect((await call(gateway, '/recent', { token: session.access_token })).body.code).toBe('reauthentication_required')
    const proven = await sign(gateway, device, { token: session.access_token })
    expect(proven.status).toBe(200)
    expect((await call(gateway, '/recent', { token: proven.body.access_token })).status).toBe(200)
    expect(await me(gateway, session.access_token)).toBe('token_revoked')
  })

  it('takes no passkey of another user', async () => {
    const [one, other] = [await newPasskeyUser(gateway), await newPasskeyUser(gateway)]
    const session = (await sign(gateway, one.device)).body
    const { flow_token, options } = (await beginSigning(gateway, { token: session.access_token })).body
    const credential = other.device.get({ ...options, allowCredentials: [] })
    const refused = await call(gateway, '/auth/passkeys/login/verify', { token: session.access_token, body: { flow_token, credential } })
    expect(refused.body.code).toBe('passkey_refused')
  })
})

describe('the list', () => {
  it('names the passkeys, and what a browser needs to forget removed ones', async () => {
    const { user, device, added } = await newPasskeyUser(gateway)
    const { access_token: token } = (await sign(gateway, device)).body
    expect(await listed(token)).toMatchObject({
      passkeys: [{ id: added.passkey.id, credential_id: device.credentials[0]!.id.toString('base64url') }],
      rp_id: 'gateway.test',
      user_handle: device.credentials[0]!.userHandle,
    })
    expect((await listed(token)).passkeys[0].last_used_at).not.toBeNull()
    expect(device.credentials[0]!.userHandle).not.toContain(user.id.slice(0, 8))
    expect(Buffer.from(device.credentials[0]!.userHandle, 'base64url')).toHaveLength(32)
  })

  it('renames one, and only an own one', async () => {
    const [one, other] = [await newPasskeyUser(gateway), await newPasskeyUser(gateway)]
    const path = `/auth/passkeys/${one.added.passkey.id}`
    const rename = (token: string, name: unknown) => call(gateway, path, { method: 'PATCH', token, body: { name } })
    expect((await rename(one.user.token, 'Key ring')).body.name).toBe('Key ring')
    expect((await rename(other.user.token, 'Mine')).status).toBe(404)
    for (const name of ['', 'a\u0000b', 'x'.repeat(65), 7]) expect((await rename(one.user.token, name)).status).toBe(422)
    expect((await listed(one.user.token)).passkeys[0].name).toBe('Key ring')
  })

  it('refuses a device that has a passkey of the account already', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    const { access_token: token } = (await sign(gateway, device)).body
    const { flow_token, options } = (await call(gateway, '/auth/passkeys/register/options', { token, body: {} })).body
    expect(options.excludeCredentials).toMatchObject([{ id: device.credentials[0]!.id.toString('base64url') }])
    expect(options).toMatchObject({
      attestation: 'none',
      authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      user: { name: user.username, id: device.credentials[0]!.userHandle },
    })
    const credential = device.create(options)
    const body = { flow_token, credential }
    expect((await call(gateway, '/auth/passkeys/register/verify', { token, body })).status).toBe(200)
    const other = await newUser(gateway)
    const begun = (await call(gateway, '/auth/passkeys/register/options', { token: other.token, body: {} })).body
    const copied = {
      ...credential,
      response: { ...credential.response, clientDataJSON: newAuthenticator().create(begun.options).response.clientDataJSON },
    }
    const refused = await call(gateway, '/auth/passkeys/register/verify', {
      token: other.token,
      body: { flow_token: begun.flow_token, credential: copied },
    })
    expect(refused.body.code).toBe('passkey_exists')
  })
})

describe('a removal', () => {
  it('needs a recent proof with the factor, ends the other sessions, and is mailed', async () => {
    const { user, device, added } = await newPasskeyUser(gateway)
    await proveAddress(gateway, user)
    const elsewhere = (await sign(gateway, device)).body
    const here = await aged((await sign(gateway, device)).body)
    const path = `/auth/passkeys/${added.passkey.id}`
    const remove = (body: object) => call(gateway, path, { method: 'DELETE', token: here.access_token, body })
    expect((await remove({})).body.code).toBe('reauthentication_required')
    expect((await remove({ current_password: user.password })).body.code).toBe('reauthentication_required')
    expect((await remove({ code: added.backup_codes[0] })).status).toBe(204)
    expect(await me(gateway, elsewhere.access_token)).toBe('token_revoked')
    expect((await sign(gateway, device)).body.code).toBe('passkey_refused')
    // the last factor is gone: the password is enough again, and backup codes end
    const { body } = await passwordLogin(user)
    expect(body.user.mfa_enabled).toBe(false)
    const { body: renewed } = await refresh(gateway, here.refresh_token)
    expect(claimsOf(renewed.access_token).amr).toEqual(['user'])
    expect(await rows(gateway, 'SELECT id FROM backup_codes WHERE user_id = $1', [user.id])).toEqual([])
    expect(await templatesTo(user)).toContain('passkey_removed')
  })

  it('never takes the last way in', async () => {
    const { user, device, added } = await newPasskeyUser(gateway)
    await rows(gateway, `UPDATE users SET password_hash = '!' WHERE id = $1`, [user.id])
    const { access_token: token } = (await sign(gateway, device)).body
    const path = `/auth/passkeys/${added.passkey.id}`
    expect((await call(gateway, path, { method: 'DELETE', token, body: {} })).body.code).toBe('last_credential')
    expect((await addPasskey(gateway, { token }, newAuthenticator())).status).toBe(200)
    expect((await call(gateway, path, { method: 'DELETE', token, body: {} })).status).toBe(204)
  })

  it('of every factor by an administrator removes passkeys too', async () => {
    const { user, device } = await newPasskeyUser(gateway)
    await gateway.app.identity.administration.resetFactor(user.id, OPERATOR)
    expect((await sign(gateway, device)).body.code).toBe('passkey_refused')
    expect((await passwordLogin(user)).status).toBe(200)
  })
})

describe('with the embedded database', () => {
  it('a passkey is added, logs in, is the second step, and is removed', async () => {
    const embedded = await startPasskeyGateway({ stores: 'embedded' })
    const { user, device } = await newPasskeyUser(embedded)
    const { access_token: token } = (await sign(embedded, device)).body
    const { passkeys, user_handle } = (await call(embedded, '/auth/passkeys', { token })).body
    expect([passkeys[0].credential_id, user_handle]).toEqual([
      device.credentials[0]!.id.toString('base64url'),
      device.credentials[0]!.userHandle,
    ])
    const first = await call(embedded, '/auth/login', { body: { login: user.username, password: user.password } })
    expect((await sign(embedded, device, { mfaToken: first.body.mfa_token })).status).toBe(200)
    expect((await addPasskey(embedded, { token }, newAuthenticator())).status).toBe(200)
    expect((await call(embedded, `/auth/passkeys/${passkeys[0].id}`, { method: 'DELETE', token, body: {} })).status).toBe(204)
    await embedded.close()
  })
})

describe('without `auth.passkeys.enabled`', () => {
  it('there are no endpoints, and a passkey is no method', async () => {
    const { user } = await newPasskeyUser(gateway)
    const plain = await startPasskeyGateway({
      databaseUrl: gateway.databaseUrl,
      secretKey: gateway.secretKey,
      config: { auth: { passkeys: { enabled: false } } },
    })
    expect((await call(plain, '/auth/passkeys/login/options', { body: {} })).status).toBe(404)
    const { body } = await call(plain, '/auth/login', { body: { login: user.username, password: user.password } })
    expect(body.methods).toEqual(['backup_code'])
    await plain.close()
  })
})

it('the example of the documentation adds a passkey, logs in with it, and removes it', async () => {
  const file = 'clients/passkeys/passkeys.js'
  expect(readFileSync('docs/passwordless.md', 'utf8')).toContain(`\`\`\`js\n${readFileSync(file, 'utf8')}\`\`\``)
  const { createPasskeys } = (await import(new URL(`../../../${file}`, import.meta.url).href)) as { createPasskeys(auth: string): any }
  const device = newAuthenticator()
  const signals: any[] = []
  const asJson = (answer: object) => ({ toJSON: () => ({ ...answer, authenticatorAttachment: 'platform', clientExtensionResults: {} }) })
  vi.stubGlobal('PublicKeyCredential', {
    parseRequestOptionsFromJSON: (options: object) => options,
    parseCreationOptionsFromJSON: (options: object) => options,
    signalAllAcceptedCredentials: async (signal: object) => void signals.push(signal),
  })
  vi.stubGlobal('navigator', {
    credentials: {
      create: async ({ publicKey }: any) => asJson(device.create(publicKey)),
      get: async ({ publicKey }: any) => asJson(device.get(publicKey)),
    },
  })
  try {
    const user = await newUser(gateway)
    const passkeys = createPasskeys(`${gateway.url}/auth`)
    const added = await passkeys.add(user.token, 'Laptop')
    expect([added.passkey.name, added.backup_codes.length]).toEqual(['Laptop', 10])
    expect((await passkeys.login('conditional')).user.id).toBe(user.id)
    const { mfa_token } = (await passwordLogin(user)).body
    const session = await passkeys.reauthenticate((await passkeys.loginMfa(mfa_token)).access_token)
    expect(claimsOf(session.access_token).amr).toEqual(['hwk', 'user', 'mfa'])
    const renewed = async () => (await refresh(gateway, session.refresh_token)).body.access_token
    await passkeys.remove(session.access_token, added.passkey.id, renewed)
    expect(signals).toMatchObject([{ rpId: 'gateway.test', allAcceptedCredentialIds: [] }])
    await expect(passkeys.login()).rejects.toMatchObject({ code: 'passkey_refused' })
  } finally {
    vi.unstubAllGlobals()
  }
})
