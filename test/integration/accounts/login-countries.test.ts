/** Logins from a country that the account has not logged in from, in each way, under each `auth.newCountry`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SAME_ORIGIN } from '../../support/browser-session.ts'
import { type Answer, call, newUser, newUserWithRoles, OPERATOR, proveAddress, type TestUser } from '../../support/client.ts'
import { consoleOf, openConsole } from '../../support/console.ts'
import { countryDatabase } from '../../support/country-database.ts'
import { byCode, byLink, mailedLogin } from '../../support/email-login.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { mailsTo, tokenOf } from '../../support/mails.ts'
import { newPasskeyUser, sign } from '../../support/passkeys.ts'
import { rows } from '../../support/rows.ts'
import { refresh } from '../../support/session.ts'
import { ORIGIN, type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'
import { newFactorUser } from '../../support/totp.ts'

type Mode = 'notify' | 'factor' | 'deny'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-countries-'))
afterAll(() => rmSync(dir, { recursive: true }))

let provider: FakeProvider
beforeAll(async () => {
  provider = await startFakeProvider()
})
afterAll(() => provider.close())

const MANY = { limits: { credentials: { mail: { limit: 100, windowSeconds: 600 } } } }

interface Traveller extends SignInGateway {
  /** From now on all clients are in this country. Null: in an unknown one. */
  travel(country: string | null): Promise<void>
}

let count = 0
async function start(newCountry: Mode | undefined, stores: 'postgres' | 'embedded' = 'postgres'): Promise<Traveller> {
  const database = join(dir, `${count++}.mmdb`)
  const write = (country: string | null) =>
    writeFileSync(database, countryDatabase({ '192.0.2.0/24': 'JP', ...(country && { '127.0.0.0/8': country }) }))
  write('DE')
  const gateway = await startSignInGateway({
    openId: provider,
    settings: { allowedDomains: ['example.com'], trustEmail: true },
    stores,
    config: { ...MANY, geo: { database } },
    auth: { passkeys: { enabled: true }, emailLogin: 'on', ...(newCountry && { newCountry }) },
  })
  return {
    ...gateway,
    async travel(country) {
      write(country)
      const { dataFiles, config } = gateway.app.platform
      await dataFiles.prepare(config)
    },
  }
}

/** Those who log in by `way`. They are in DE, and their addresses are proven. */
interface Person {
  user: TestUser
  /** @returns the status, or the code of the refusal */
  logIn(): Promise<string | number>
}
const answerOf = ({ status, body }: Answer): string | number => (status < 400 ? status : body.code)

const byPassword = (gateway: Gateway, user: TestUser, more: object = {}) =>
  call(gateway, '/auth/login', { body: { login: user.username, password: user.password, ...more } })

async function newProven(gateway: Gateway): Promise<TestUser> {
  const user = await newUser(gateway)
  await proveAddress(gateway, user)
  return user
}

async function newProviderPerson(gateway: Traveller): Promise<Person> {
  const sub = `person-${count++}`
  const identity = { sub, email: `${sub}@example.com`, email_verified: true }
  const logIn = async () => {
    provider.person = identity
    const agent = gateway.agent()
    const page = await gateway.signIn(agent)
    if (await userOf(agent)) return 200
    return /country/i.test(page.html) ? 'country_refused' : /mailed you a link/.test(page.html) ? 'email_confirmation_required' : page.html
  }
  expect(await logIn()).toBe(200)
  const [row] = await rows(gateway, 'SELECT id, username, email FROM users WHERE email_canonical = $1', [identity.email])
  return { user: row as unknown as TestUser, logIn }
}

const WAYS: Record<string, (gateway: Traveller) => Promise<Person>> = {
  async password(gateway) {
    const user = await newProven(gateway)
    return { user, logIn: async () => answerOf(await byPassword(gateway, user)) }
  },
  async 'password for a cookie'(gateway) {
    const user = await newProven(gateway)
    const body = { login: user.username, password: user.password, session: 'cookie' }
    return { user, logIn: async () => answerOf(await call(gateway, '/auth/login', { body, headers: SAME_ORIGIN })) }
  },
  async 'password with a factor'(gateway) {
    const user = await newFactorUser(gateway)
    await proveAddress(gateway, user)
    async function logIn() {
      const begun = await byPassword(gateway, user)
      expect(begun.body.mfa_required).toBe(true)
      return answerOf(await call(gateway, '/auth/login/mfa', { body: { mfa_token: begun.body.mfa_token, code: user.backupCodes.pop()! } }))
    }
    return { user, logIn }
  },
  async passkey(gateway) {
    const { user, device } = await newPasskeyUser(gateway)
    await proveAddress(gateway, user)
    return { user, logIn: async () => answerOf(await sign(gateway, device)) }
  },
  async 'mailed code'(gateway) {
    const user = await newProven(gateway)
    return { user, logIn: async () => answerOf(await byCode(gateway, await mailedLogin(gateway, user.email))) }
  },
  async 'mailed link'(gateway) {
    const user = await newProven(gateway)
    return { user, logIn: async () => answerOf(await byLink(gateway, await mailedLogin(gateway, user.email))) }
  },
  provider: newProviderPerson,
  async page(gateway) {
    const user = await newProven(gateway)
    async function logIn() {
      const agent = gateway.agent()
      const page = await agent.post(`${ORIGIN}/auth/ui/login`, { login: user.username, password: user.password })
      if (await userOf(agent)) return 200
      return /country/i.test(page.html)
        ? 'country_refused'
        : /mailed you a link/.test(page.html)
          ? 'email_confirmation_required'
          : page.html
    }
    return { user, logIn }
  },
}
/** These show nothing but a first step, which is not the mailbox. */
const FIRST_STEP_ALONE = ['password', 'password for a cookie', 'provider', 'page']

const mailsOf = async (gateway: Gateway, { email }: TestUser, template: string) =>
  (await mailsTo(gateway, email)).filter((mail) => mail.template === template)
const auditOf = (gateway: Gateway, { id }: TestUser) =>
  rows(gateway, `SELECT event, outcome, detail FROM audit_log WHERE user_id = $1 ORDER BY at, id`, [id])

describe.each(['notify', 'factor', 'deny'] as const)('auth.newCountry: %s', (mode) => {
  let gateway: Traveller
  beforeAll(async () => {
    gateway = await start(mode)
  })
  afterAll(() => gateway.close())

  it.each(Object.keys(WAYS))('a login by %s from a new country', async (way) => {
    await gateway.travel('DE')
    const { user, logIn } = await WAYS[way]!(gateway)
    expect(await logIn()).toBe(200)
    expect(await mailsOf(gateway, user, 'new_country')).toEqual([])

    await gateway.travel('FR')
    const refusal =
      mode === 'deny' ? 'country_refused' : mode === 'factor' && FIRST_STEP_ALONE.includes(way) ? 'email_confirmation_required' : null
    const sessions = await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1', [user.id])
    expect(await logIn()).toBe(refusal ?? 200)
    if (refusal === null) {
      const [mail] = await mailsOf(gateway, user, 'new_country')
      expect(mail?.data).toMatchObject({ country: 'FR' })
      expect(await auditOf(gateway, user)).toContainEqual({ event: 'login_new_country', outcome: 'success', detail: 'FR' })
      // the country is known from now on
      expect(await logIn()).toBe(200)
      expect(await mailsOf(gateway, user, 'new_country')).toHaveLength(1)
    } else {
      expect(await rows(gateway, 'SELECT 1 FROM sessions WHERE user_id = $1', [user.id])).toHaveLength(sessions.length)
      expect((await auditOf(gateway, user)).filter(({ event }: any) => event === 'login').at(-1)).toMatchObject({ outcome: refusal })
      expect(await mailsOf(gateway, user, mode === 'deny' ? 'login_refused' : 'confirm_login')).toEqual([
        expect.objectContaining({ data: expect.objectContaining({ country: 'FR' }) }),
      ])
    }
    await gateway.travel('DE')
    expect(await logIn()).toBe(200)
  })

  it('a wrong password is answered as ever, and asks nothing about the country', async () => {
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.travel('FR')
    expect(answerOf(await byPassword(gateway, { ...user, password: 'a wrong password' }))).toBe('invalid_credentials')
    expect(answerOf(await byPassword(gateway, { ...user, username: 'nobody-here' }))).toBe('invalid_credentials')
    for (const template of ['login_refused', 'confirm_login', 'new_country']) expect(await mailsOf(gateway, user, template)).toEqual([])
  })

  it('the first login of an account is never new, also of an account from before', async () => {
    await gateway.travel('JP')
    const user = await newProven(gateway)
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
    await rows(gateway, 'DELETE FROM user_countries WHERE user_id = $1', [user.id])
    await gateway.travel('BR')
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
    await gateway.travel(null)
    const hidden = await newProven(gateway)
    expect(answerOf(await byPassword(gateway, hidden))).toBe(200)
  })

  it(`an unknown country ${mode === 'notify' ? 'is not new' : 'is never known'}`, async () => {
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.travel(null)
    const expected = { notify: 200, factor: 'email_confirmation_required', deny: 'country_refused' }[mode]
    for (let i = 0; i < 2; i++) expect(answerOf(await byPassword(gateway, user))).toBe(expected)
  })

  it('a refresh is no login', async () => {
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.travel('FR')
    expect((await refresh(gateway, user.refreshToken)).status).toBe(200)
    expect(await rows(gateway, 'SELECT country FROM user_countries WHERE user_id = $1', [user.id])).toEqual([{ country: 'DE' }])
  })

  it('an operator who unlocks the account lets the next login come from anywhere', async () => {
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.app.identity.administration.unlock(user.id, OPERATOR)
    await gateway.travel('FR')
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
    expect(await mailsOf(gateway, user, 'new_country')).toEqual([])
  })

  it('the console of administrators is no way around it', async () => {
    await gateway.travel('DE')
    const user = await newUserWithRoles(gateway, ['admin'])
    await gateway.travel('FR')
    if (mode === 'notify') return void (await consoleOf(gateway, user))
    const shown = await openConsole(gateway).post('/console/login', { login: user.username, password: user.password })
    expect([shown.status, shown.to]).toEqual([403, null])
    expect(shown.text).toMatch(mode === 'deny' ? /country/ : /mailed you a link/)
  })

  it('outcomes are counted, without the country', async () => {
    const outcome = { notify: 'success', factor: 'email_confirmation_required', deny: 'country_refused' }[mode]
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.travel('FR')
    const before = await metric(gateway, 'portcullis_new_country_logins_total', { outcome })
    await byPassword(gateway, user)
    expect(await metric(gateway, 'portcullis_new_country_logins_total', { outcome })).toBe(before + 1)
    expect(await metric(gateway, 'portcullis_logins_total', { outcome, via: 'api' })).toBeGreaterThan(0)
  })
})

describe('auth.newCountry: factor', () => {
  let gateway: Traveller
  beforeAll(async () => {
    gateway = await start('factor')
  })
  afterAll(() => gateway.close())
  const confirm = (token: string) => call(gateway, '/auth/login/confirm', { body: { token } })

  it('the mailed link confirms the country that it was asked from, and no other', async () => {
    const user = await newProven(gateway)
    await gateway.travel('FR')
    expect(answerOf(await byPassword(gateway, user))).toBe('email_confirmation_required')
    await gateway.travel('BR')
    expect(answerOf(await byPassword(gateway, user))).toBe('email_confirmation_required')
    const [french] = await mailsOf(gateway, user, 'confirm_login')
    const token = tokenOf(french!)
    const agent = gateway.agent()
    const page = await agent.post(`${ORIGIN}/auth/ui/confirm-login`, { link: token })
    expect(page.html).toContain('The login came from France.')
    expect((await confirm(token)).status).toBe(204)
    expect(answerOf(await byPassword(gateway, user))).toBe('email_confirmation_required')
    await gateway.travel('FR')
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
  })

  it('a confirmation of an unknown country counts once, and for half an hour', async () => {
    await gateway.travel('DE')
    const user = await newProven(gateway)
    await gateway.travel(null)
    const confirmed = async () => {
      expect(answerOf(await byPassword(gateway, user))).toBe('email_confirmation_required')
      expect((await confirm(tokenOf((await mailsOf(gateway, user, 'confirm_login')).at(-1)!))).status).toBe(204)
    }
    await confirmed()
    expect(answerOf(await byPassword(gateway, user))).toBe(200)
    await confirmed()
    await rows(gateway, `UPDATE user_countries SET seen_at = seen_at - interval '31 minutes' WHERE country = 'ZZ'`)
    expect(answerOf(await byPassword(gateway, user))).toBe('email_confirmation_required')
  })
})

describe('where a session came from', () => {
  it.each(['postgres', 'embedded'] as const)('is shown to its user and to administrators, as two letters (%s)', async (stores) => {
    const gateway = await start(undefined, stores)
    try {
      const user = await newProven(gateway)
      await gateway.travel('FR')
      expect(answerOf(await byPassword(gateway, user, { device_token: 'nonsense' }))).toBe(200)
      await gateway.travel(null)
      await byPassword(gateway, user)
      const { sessions } = (await call(gateway, '/auth/sessions', { token: user.token })).body
      expect(sessions.map(({ country }: any) => country).sort()).toEqual(['DE', 'FR', null])
      expect(await mailsOf(gateway, user, 'new_country')).toHaveLength(1)
      await gateway.travel('DE')
      const admin = await newUserWithRoles(gateway, ['admin'])
      const listed = (await call(gateway, `/auth/admin/users/${user.id}/sessions`, { token: admin.token })).body.sessions
      expect(listed.map(({ country }: any) => country).sort()).toEqual(['DE', 'FR', null])
      const console = await consoleOf(gateway, admin)
      expect((await console.get(`/console/users/${user.id}`)).text).toContain('France')
      const agent = gateway.agent()
      await agent.post(`${ORIGIN}/auth/ui/login`, { login: user.username, password: user.password })
      expect((await agent.open(`${ORIGIN}/auth/ui/account/sessions`)).html).toContain('(France)')
    } finally {
      await gateway.close()
    }
  })

  it('is in the mail about a new device', async () => {
    const gateway = await start('notify')
    try {
      const user = await newProven(gateway)
      await gateway.travel('FR')
      const headers = { 'user-agent': 'another' }
      await call(gateway, '/auth/login', { body: { login: user.username, password: user.password }, headers })
      expect((await mailsOf(gateway, user, 'new_device')).map(({ data }) => data.country)).toEqual(['FR'])
      // one mail for one login
      expect(await mailsOf(gateway, user, 'new_country')).toEqual([])
    } finally {
      await gateway.close()
    }
  })

  it('is nowhere without geo.database', async () => {
    const gateway = await startGateway()
    try {
      const user = await newUser(gateway)
      const { sessions } = (await call(gateway, '/auth/sessions', { token: user.token })).body
      expect(sessions.map(({ country }: any) => country)).toEqual([null])
      expect(await rows(gateway, 'SELECT 1 FROM user_countries')).toEqual([])
    } finally {
      await gateway.close()
    }
  })
})
