import { describe, expect, it } from 'vitest'
import { call, OPERATOR, proveAddress, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { startGateway } from '../../support/gateway.ts'
import { mailsTo } from '../../support/mails.ts'
import { freePort } from '../../support/processes.ts'
import { rows } from '../../support/rows.ts'

const LIMITS = {
  login: { limit: 5, windowSeconds: 60 },
  account: { limit: 8, windowSeconds: 3600 },
  address: { limit: 30, windowSeconds: 3600 },
}

const gateway = useGateway(() => ({
  config: {
    server: { trustedProxies: ['127.0.0.1/32'] },
    limits: { exempt: [], credentials: { ...LIMITS, register: { limit: 1000, windowSeconds: 60 } } },
  },
}))

let networks = 0
/** An address in a network that nobody else is in. */
const newAddress = () => `10.${Math.floor(++networks / 250)}.${networks % 250}.7`
const from = (address: string, more: object = {}) => ({ 'x-forwarded-for': address, ...more })

let count = 0
async function newUser(): Promise<TestUser> {
  const username = `dev${count++}`
  const person = { username, email: `${username}@example.com`, password: `plain zebra of ${username}` }
  const { body } = await call(gateway, '/auth/register', { body: person, headers: from(newAddress()) })
  return { ...person, id: body.user.id, token: body.access_token, refreshToken: body.refresh_token }
}
const logIn = (
  user: TestUser,
  address: string,
  { password = user.password, deviceToken = undefined as string | undefined, agent = 'test' } = {},
) =>
  call(gateway, '/auth/login', {
    body: { login: user.username, password, ...(deviceToken ? { device_token: deviceToken } : {}) },
    headers: from(address, { 'user-agent': agent }),
  })
const wrong = { password: 'a wrong password' }
/** Strangers guess until the account answers nobody new. */
async function lockOut(user: TestUser): Promise<void> {
  for (let i = 0; i < LIMITS.account.limit; i++) await logIn(user, newAddress(), wrong)
  expect((await logIn(user, newAddress())).status).toBe(429)
}

describe('while strangers try passwords of an account', () => {
  it('a device that was let in before still is, from anywhere, by its token', async () => {
    const user = await newUser()
    const deviceToken = (await logIn(user, newAddress())).body.device_token
    await lockOut(user)
    const again = await logIn(user, newAddress(), { deviceToken })
    expect(again.status).toBe(200)
    expect(again.body.device_token).toBe(deviceToken)
  })

  it('and so is a network that a login succeeded from within 30 days', async () => {
    const user = await newUser()
    await logIn(user, '10.200.1.7')
    await lockOut(user)
    expect((await logIn(user, '10.200.1.99')).status).toBe(200)
    await rows(gateway, `UPDATE device_networks SET last_seen_at = last_seen_at - interval '31 days'`)
    expect((await logIn(user, '10.200.1.100')).status).toBe(429)
  })

  it("a device of somebody else's is a stranger, and so is a token that was never given", async () => {
    const [user, other] = [await newUser(), await newUser()]
    const deviceToken = (await logIn(other, newAddress())).body.device_token
    await lockOut(user)
    for (const token of [deviceToken, `dt_${'A'.repeat(43)}`, 'nonsense', 'dt_', "' OR 1=1"])
      expect((await logIn(user, newAddress(), { deviceToken: token })).status).toBe(429)
  })

  it('a known device with wrong passwords has a limit of its own', async () => {
    const user = await newUser()
    const [first, second] = [(await logIn(user, newAddress(), { agent: 'a' })).body, (await logIn(user, newAddress(), { agent: 'b' })).body]
    const guesses = []
    for (let i = 0; i < 6; i++) guesses.push((await logIn(user, newAddress(), { ...wrong, deviceToken: first.device_token })).status)
    expect(guesses).toEqual([401, 401, 401, 401, 401, 429])
    expect((await logIn(user, newAddress(), { deviceToken: second.device_token })).status).toBe(200)
    // nor did it use up what strangers have
    expect((await logIn(user, newAddress())).status).toBe(200)
  })

  it('an operator unlocks it', async () => {
    const user = await newUser()
    await lockOut(user)
    await gateway.app.identity.administration.unlock(user.username, OPERATOR)
    expect((await logIn(user, newAddress())).status).toBe(200)
  })
})

describe('a client that goes on with wrong passwords', () => {
  it('waits longer and longer: a minute, ten, an hour', async () => {
    // without Redis the counts are in Postgres, where a window can be ended
    const redisUrl = `redis://127.0.0.1:${await freePort()}`
    const wide = await startGateway({
      redisUrl,
      config: {
        server: { trustedProxies: ['127.0.0.1/32'] },
        limits: { exempt: [], credentials: { login: { limit: 3, windowSeconds: 60 }, account: { limit: 1000, windowSeconds: 3600 } } },
      },
    })
    /** Failures until the next refusal, and the seconds that it tells. */
    const guessOn = async (): Promise<[failures: number, wait: number]> => {
      for (let failures = 0; ; failures++) {
        const { status, headers } = await call(wide, '/auth/login', { body: { login: 'nobody', ...wrong }, headers: from('10.254.9.9') })
        if (status === 429) return [failures, Number(headers.get('retry-after'))]
      }
    }
    const isOver = (...names: string[]) =>
      rows(wide, `UPDATE limit_counters SET resets_at = now() - interval '1 second' WHERE split_part(key, ':', 2) = ANY($1)`, [names])

    const waits = [await guessOn()]
    await isOver('login')
    waits.push(await guessOn())
    await isOver('login')
    waits.push(await guessOn())
    await isOver('login', 'login600')
    waits.push(await guessOn())
    await isOver('login', 'login600')
    waits.push(await guessOn())
    await isOver('login', 'login600')
    waits.push(await guessOn())
    await wide.close()
    expect(waits.map(([failures]) => failures)).toEqual([3, 3, 0, 3, 3, 0])
    const tier = (seconds: number) => [60, 600, 3600].find((most) => seconds <= most)
    expect(waits.map(([, seconds]) => tier(seconds))).toEqual([60, 60, 600, 60, 60, 3600])
  })

  it('at many accounts from one address is stopped there; the accounts are free for others', async () => {
    const address = newAddress()
    const user = await newUser()
    const statuses = []
    for (let i = 0; i < 31; i++) {
      const body = { login: `nobody-${i}`, ...wrong }
      statuses.push((await call(gateway, '/auth/login', { body, headers: from(address) })).status)
    }
    expect(statuses.filter((status) => status === 401)).toHaveLength(30)
    expect(statuses.at(-1)).toBe(429)
    expect((await logIn(user, address)).status).toBe(429)
    expect((await logIn(user, newAddress())).status).toBe(200)
  })
})

describe('devices', () => {
  const devicesOf = (user: TestUser) => rows<{ id: string }>(gateway, 'SELECT id FROM devices WHERE user_id = $1', [user.id])

  it('a client that keeps no token is one device, not one a login', async () => {
    const user = await newUser()
    const address = newAddress()
    for (let i = 0; i < 3; i++) expect((await logIn(user, address)).status).toBe(200)
    // and the device of the registration
    expect(await devicesOf(user)).toHaveLength(2)
  })

  it('a token stays good when other clients of the same network log in without it', async () => {
    const user = await newUser()
    const [home, cafe] = [newAddress(), newAddress()]
    const { device_token: stored } = (await logIn(user, home)).body
    const others: string[] = []
    for (let i = 0; i < 3; i++) others.push((await logIn(user, home)).body.device_token)
    expect(new Set([stored, ...others]).size).toBe(4)
    await lockOut(user)
    for (const deviceToken of [stored, ...others]) {
      const { status, body } = await logIn(user, newAddress(), { deviceToken })
      expect([status, body.device_token]).toEqual([200, deviceToken])
    }
    expect((await logIn(user, cafe)).status).toBe(429)
    expect(await devicesOf(user)).toHaveLength(2)
  })

  it('every network of a device is remembered', async () => {
    const user = await newUser()
    const [home, work] = [newAddress(), newAddress()]
    const { device_token: deviceToken } = (await logIn(user, home)).body
    await logIn(user, work, { deviceToken })
    await lockOut(user)
    for (const address of [home, work, home]) expect((await logIn(user, address)).status).toBe(200)
    expect((await logIn(user, newAddress())).status).toBe(429)
    // neither network is a new device
    expect(await devicesOf(user)).toHaveLength(2)
  })

  it('a device has at most ten networks and fifty tokens: those that were presented stay', async () => {
    const user = await newUser()
    const address = newAddress()
    const { device_token: deviceToken } = (await logIn(user, address)).body
    const { id } = (await gateway.app.identity.devices.find(deviceToken))!
    await rows(
      gateway,
      `INSERT INTO device_networks SELECT $1, '192.0.' || n || '.0/24', now() - n * interval '1 day' FROM generate_series(1, 12) n`,
      [id],
    )
    await logIn(user, address, { deviceToken })
    const countOf = async (table: string) =>
      Number((await rows(gateway, `SELECT count(*) AS n FROM ${table} WHERE device_id = $1`, [id]))[0].n)
    expect(await countOf('device_networks')).toBe(10)
    await rows(
      gateway,
      `INSERT INTO device_tokens SELECT sha256(n::text::bytea), $1, now() + n * interval '1 s', NULL FROM generate_series(1, 60) n`,
      [id],
    )
    await logIn(user, address)
    expect(await countOf('device_tokens')).toBe(50)
    expect(await gateway.app.identity.devices.find(deviceToken)).not.toBeNull()
  })

  it('a user has at most twenty: the device that was unused for longest is removed', async () => {
    const user = await newUser()
    const tokens: string[] = []
    for (let i = 0; i < 21; i++) tokens.push((await logIn(user, newAddress())).body.device_token)
    expect(await devicesOf(user)).toHaveLength(20)
    const known = async (token: string) => (await gateway.app.identity.devices.find(token)) !== null
    expect([await known(tokens[0]!), await known(tokens[1]!), await known(tokens[20]!)]).toEqual([false, true, true])
  })

  it('a device other than that of the registration is announced to the user once, with time, place and name', async () => {
    const user = await newUser()
    await proveAddress(gateway, user)
    const news = async () => (await mailsTo(gateway, user.email)).filter(({ template }) => template === 'new_device')
    expect(await news()).toEqual([])
    const agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0'
    const address = newAddress()
    await logIn(user, address, { agent })
    await logIn(user, address, { agent })
    expect(await news()).toMatchObject([{ data: { ip: address, device: 'Firefox on Linux' } }])
  })
})
