/** Apple: the answer comes as a form of another site, and the gateway signs its own client secret. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { ORIGIN, openIdSettings, type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'
import type { WebAgent } from '../../support/web-agent.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
let apple: FakeProvider
let acme: FakeProvider
let gateway: SignInGateway
let dir = ''
beforeAll(async () => {
  apple = await startFakeProvider({ kind: 'apple' })
  acme = await startFakeProvider()
  dir = mkdtempSync(join(tmpdir(), 'portcullis-apple-'))
  const keyFile = join(dir, 'key.p8')
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  gateway = await startSignInGateway({
    secrets: { ACME_SECRET: acme.clientSecret },
    auth: {
      providers: [
        {
          id: 'apple',
          kind: 'apple',
          issuer: apple.issuer,
          clientId: apple.clientId,
          clientSecretJwt: { teamId: 'TEAM', keyId: 'KEY', keyFile },
          allowedDomains: ['*'],
          trustEmail: true,
        },
        openIdSettings(acme),
      ],
    },
  })
})
afterAll(async () => {
  await gateway.close()
  await apple.close()
  await acme.close()
  rmSync(dir, { recursive: true })
})
afterEach(() => {
  apple.answer = null
})

const CALLBACK = `${ORIGIN}/auth/providers/apple/callback`

let count = 0
/** A person at Apple, whose address is verified by a text. */
function somebody() {
  const sub = `apple-${count++}`
  apple.person = { sub, email: `${sub}@example.com`, email_verified: 'true' }
  return apple.person
}

/** Goes to Apple. @returns the fields of the form that Apple's page posts */
async function atApple(agent: WebAgent): Promise<Record<string, string>> {
  const { html } = await agent.open(`${ORIGIN}/auth/providers/apple/start`)
  return Object.fromEntries([...html.matchAll(/name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name!, value!]))
}

describe('the answer of Apple', () => {
  it('comes by a form of another site, and signs in', async () => {
    const { email } = somebody()
    const agent = gateway.agent()
    const fields = await atApple(agent)
    const done = await agent.post(CALLBACK, { ...fields, user: '{"name":{"firstName":"<b>"}}' }, { isCrossSite: true })
    expect(done.status).toBe(200)
    expect(new URL(done.trail[0]!).searchParams.get('code')).toBeNull()
    expect(await userOf(agent)).toMatchObject({ user: { email, email_verified: true }, session: { amr: ['fed'] } })
  })

  it('comes with a cookie that only this host sets, and that another site sends along', async () => {
    const { headers } = await gateway.agent().open(`${ORIGIN}/auth/providers/apple/start`, () => true)
    expect(headers['set-cookie']?.join()).toMatch(/^__Host-portcullis-flow-[^;]+; Path=\/; Max-Age=600; HttpOnly; SameSite=None; Secure$/)
    const lax = await gateway.agent().open(`${ORIGIN}/auth/providers/acme/start`, () => true)
    expect(lax.headers['set-cookie']?.join()).toMatch(/^__Host-[^;]+; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax; Secure$/)
  })

  it('is refused without the cookie of the sign-in, and the right browser goes on', async () => {
    somebody()
    const agent = gateway.agent()
    const fields = await atApple(agent)
    const stranger = await gateway.agent().post(CALLBACK, fields, { isCrossSite: true })
    expect(stranger.status).toBe(400)
    expect((await agent.post(CALLBACK, fields, { isCrossSite: true })).status).toBe(200)
  })

  it('is taken once', async () => {
    somebody()
    const agent = gateway.agent()
    const fields = await atApple(agent)
    await agent.post(CALLBACK, fields, { isCrossSite: true })
    expect((await agent.post(CALLBACK, fields, { isCrossSite: true })).status).toBe(400)
  })

  it('that the user has cancelled leads to a page that says so', async () => {
    somebody()
    apple.answer = (parameters) => {
      parameters.delete('code')
      parameters.set('error', 'user_cancelled_authorize')
    }
    const agent = gateway.agent()
    const done = await agent.post(CALLBACK, await atApple(agent), { isCrossSite: true })
    expect([done.status, done.html.includes('The sign-in was cancelled or refused.')]).toEqual([401, true])
    expect(done.html).not.toContain('user_cancelled')
  })

  it('is no way in for a provider that answers by a redirect', async () => {
    const agent = gateway.agent()
    const answer = await agent.post(`${ORIGIN}/auth/providers/acme/callback`, { state: 'x', code: 'y' }, { isCrossSite: true })
    expect(answer.status).toBe(404)
  })
})

describe('the client secret', () => {
  it('is a JWT of the team for this client, which is renewed before it ends', async () => {
    const secretOf = async () => {
      somebody()
      const agent = gateway.agent()
      await agent.post(CALLBACK, await atApple(agent), { isCrossSite: true })
      return apple.seen
        .filter(({ path }) => path === '/token')
        .at(-1)!
        .body.get('client_secret')!
    }
    const secret = await secretOf()
    const { payload } = await jwtVerify(secret, publicKey, { issuer: 'TEAM', audience: apple.issuer, subject: apple.clientId })
    expect(decodeProtectedHeader(secret)).toEqual({ alg: 'ES256', kid: 'KEY' })
    expect(payload.exp! - payload.iat!).toBeLessThanOrEqual(15_777_000)
    expect(await secretOf()).toBe(secret)
  })
})
