/** A client that has the password and tries codes of the second factor. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { from, newAddress, newUserFrom } from '../support/addresses.ts'
import { call, OPERATOR } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { mailsTo } from '../support/mails.ts'
import { rows } from '../support/rows.ts'
import { times } from '../support/times.ts'
import { codeOf, enrol, type FactorUser } from '../support/totp.ts'

const MFA = { limit: 3, windowSeconds: 60 }
const MANY = { limit: 1000, windowSeconds: 60 }
const WRONG = '000000'

const start = (mfa: typeof MFA) =>
  startGateway({
    config: {
      server: { trustedProxies: ['127.0.0.1/32'] },
      limits: { exempt: [], credentials: { mfa, register: MANY, login: MANY, address: MANY, account: MANY } },
    },
  })

let gateway: Gateway
let wide: Gateway
beforeAll(async () => {
  gateway = await start(MFA)
  wide = await start(MANY)
})
afterAll(async () => {
  await wide.close()
  await gateway.close()
})

/** A user whose device and network are known from nowhere that a test uses. */
const newOwner = async (at = gateway): Promise<FactorUser> => enrol(at, await newUserFrom(at))

const halfway = async (user: FactorUser, address: string, password = user.password, at = gateway): Promise<string> =>
  (await call(at, '/auth/login', { body: { login: user.username, password }, headers: from(address) })).body.mfa_token
const enter = (mfa_token: string, code: string, address: string, at = gateway, more: object = {}) =>
  call(at, '/auth/login/mfa', { body: { mfa_token, code, ...more }, headers: from(address) })

/** Enters one wrong code, each time from another address. */
const guess = async (user: FactorUser, at = gateway) => {
  const address = newAddress()
  return enter(await halfway(user, address, user.password, at), WRONG, address, at)
}

/** Wrong codes until the next refusal, and the seconds that it names. */
async function guessOn(user: FactorUser): Promise<[wrong: number, wait: number]> {
  for (let wrong = 0; ; wrong++) {
    const { status, headers, body } = await guess(user)
    if (status === 429) return [wrong, Number(headers.get('retry-after'))]
    expect(body.code).toBe('invalid_code')
  }
}

/** Ends the windows of these limits. */
const isOver = (at: Gateway, ...names: string[]) =>
  rows(at, `UPDATE limit_counters SET resets_at = now() - interval '1 second' WHERE split_part(key, ':', 2) = ANY($1)`, [names])
const reports = async (user: FactorUser, at = gateway) =>
  (await mailsTo(at, user.email)).filter(({ template }) => template === 'wrong_codes')

describe('a client that goes on with wrong codes', () => {
  it('waits longer and longer: a minute, ten, an hour', async () => {
    const user = await newOwner()
    const waits = [await guessOn(user)]
    for (const ended of [['mfa'], ['mfa'], ['mfa', 'mfa600'], ['mfa', 'mfa600'], ['mfa', 'mfa600']]) {
      await isOver(gateway, ...ended)
      waits.push(await guessOn(user))
    }
    expect(waits.map(([wrong]) => wrong)).toEqual([3, 3, 0, 3, 3, 0])
    const tier = (seconds: number) => [60, 600, 3600].find((most) => seconds <= most)
    expect(waits.map(([, wait]) => tier(wait))).toEqual([60, 600, 600, 60, 3600, 3600])
  })

  it('is refused with the right code as well, and the owner logs in with a known device', async () => {
    const owner = await newUserFrom(gateway)
    const address = newAddress()
    const known = (
      await call(gateway, '/auth/login', { body: { login: owner.username, password: owner.password }, headers: from(address) })
    ).body.device_token
    const user = await enrol(gateway, owner)
    await guessOn(user)
    const stranger = newAddress()
    expect((await enter(await halfway(user, stranger), codeOf(user.secret), stranger)).status).toBe(429)
    const elsewhere = newAddress()
    const token = await halfway(user, elsewhere)
    expect((await enter(token, codeOf(user.secret), elsewhere, gateway, { device_token: known })).status).toBe(200)
  })

  it('gets three checks from any number of parallel attempts', async () => {
    const user = await newOwner()
    const address = newAddress()
    const token = await halfway(user, address)
    const answers = await Promise.all(times(40, () => enter(token, WRONG, address)))
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(3)
  })

  it('begins anew when an admin unlocks the account, or the owner sets a new password', async () => {
    const user = await newOwner()
    await guessOn(user)
    await gateway.app.identity.administration.unlock(user.username, OPERATOR)
    expect((await guess(user)).body.code).toBe('invalid_code')
    await guessOn(user)
    await rows(gateway, 'UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE id = $2) WHERE id = $1', [
      user.id,
      (await newOwner()).id,
    ])
    const other = await newOwner()
    await rows(gateway, 'UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE id = $2) WHERE id = $1', [
      user.id,
      other.id,
    ])
    const address = newAddress()
    expect((await enter(await halfway(user, address, other.password), codeOf(user.secret), address)).status).toBe(200)
  })
})

describe('after a hundred wrong codes in a row', () => {
  it('one code a day is checked, exactly, and the right code ends it', async () => {
    const user = await newOwner(wide)
    const address = newAddress()
    const token = await halfway(user, address, user.password, wide)
    const guessAtOnce = (n: number) => Promise.all(times(n, () => enter(token, WRONG, address, wide)))
    for (let i = 0; i < 98; i += 14) expect((await guessAtOnce(14)).map(({ status }) => status)).toEqual(times(14, () => 401))
    // two of the hundred, and one of this day
    const answers = await guessAtOnce(14)
    expect([401, 429].map((status) => answers.filter((a) => a.status === status).length)).toEqual([3, 11])
    const wait = Number(answers.find(({ status }) => status === 429)!.headers.get('retry-after'))
    expect(wait).toBeGreaterThan(3600)
    expect((await enter(token, codeOf(user.secret), address, wide)).status).toBe(429)
    await isOver(wide, 'mfaSlow')
    expect((await enter(await halfway(user, address, user.password, wide), codeOf(user.secret), address, wide)).status).toBe(200)
    for (let i = 0; i < 3; i++) expect((await guess(user, wide)).body.code).toBe('invalid_code')
  })

  it('a right code in between begins the row anew', async () => {
    const user = await newOwner(wide)
    const address = newAddress()
    const wrong = async () => enter(await halfway(user, address, user.password, wide), WRONG, address, wide)
    for (let i = 0; i < 60; i++) expect((await wrong()).status).toBe(401)
    const right = await enter(await halfway(user, address, user.password, wide), codeOf(user.secret), address, wide)
    expect(right.status).toBe(200)
    const known = { device_token: right.body.device_token }
    for (let i = 0; i < 60; i++) {
      const token = await halfway(user, address, user.password, wide)
      expect((await enter(token, WRONG, address, wide, known)).status).toBe(401)
    }
  })
})

describe('every endpoint that takes a code', () => {
  it('has one budget for a session', async () => {
    const user = await newOwner()
    const { token, password } = user
    const asks = [
      () => call(gateway, '/auth/reauthenticate', { body: { password, code: WRONG }, token }),
      () => call(gateway, '/auth/mfa/totp', { method: 'DELETE', body: { code: WRONG }, token }),
      () => call(gateway, '/auth/mfa/backup-codes', { body: { code: WRONG }, token }),
      () => call(gateway, '/auth/mfa/backup-codes', { body: { code: codeOf(user.secret) }, token }),
    ]
    const codes = []
    for (const ask of asks) codes.push((await ask()).body.code)
    expect(codes).toEqual(['invalid_code', 'invalid_code', 'invalid_code', 'rate_limited'])
  })
})

describe('the mail about wrong codes', () => {
  it('is sent after the third in a row, and once in each growing window', async () => {
    const user = await newOwner()
    await guess(user)
    await guess(user)
    expect(await reports(user)).toEqual([])
    await guess(user)
    const [mail, ...others] = await reports(user)
    expect(others).toEqual([])
    expect(mail!.data).toEqual({
      count: 3,
      at: expect.stringMatching(/^\d{4}-.*Z$/),
      ip: expect.stringMatching(/^10\./),
      // the address is not proven: a name that is not in the list of devices is left out
      device: null,
    })
    await isOver(gateway, 'mfa')
    await guessOn(user)
    expect(await reports(user)).toHaveLength(1)
    const counts = []
    for (let window = 0; window < 3; window++) {
      await isOver(gateway, 'mfa', 'mfa600', 'mfa3600', 'mfaReport600')
      await guessOn(user)
      counts.push((await reports(user)).at(-1)!.data.count)
    }
    // twice in an hour
    expect(await reports(user)).toHaveLength(2)
    expect(counts).toEqual([7, 7, 7])
    await isOver(gateway, 'mfa', 'mfa600', 'mfa3600', 'mfaReport600', 'mfaReport3600')
    await guessOn(user)
    expect(await reports(user)).toHaveLength(3)
  })

  it('is sent for a session that tries codes, too', async () => {
    const user = await newOwner()
    for (let i = 0; i < 3; i++) await call(gateway, '/auth/mfa/backup-codes', { body: { code: WRONG }, token: user.token })
    expect(await reports(user)).toHaveLength(1)
  })

  it('is not sent for typing errors, nor while a factor is set up', async () => {
    const user = await newOwner()
    await guess(user)
    await guess(user)
    const address = newAddress()
    expect((await enter(await halfway(user, address), codeOf(user.secret), address)).status).toBe(200)
    const beginner = await newUserFrom(gateway)
    await call(gateway, '/auth/mfa/totp', { body: { password: beginner.password }, token: beginner.token })
    for (let i = 0; i < 3; i++) await call(gateway, '/auth/mfa/totp/confirm', { body: { code: WRONG }, token: beginner.token })
    expect([...(await reports(user)), ...(await reports({ ...user, email: beginner.email }))]).toEqual([])
  })
})
