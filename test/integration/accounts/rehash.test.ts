import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, login, newUser, type TestUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { rows } from '../../support/rows.ts'

const costs = (memoryKiB: number, passes: number) => ({ auth: { password: { argon2: { memoryKiB, passes } } } })

describe('a login after the cost of hashes was raised', () => {
  let gateway: Gateway
  let users: TestUser[]
  beforeAll(async () => {
    const before = await startGateway({ config: costs(1024, 1) })
    users = [await newUser(before), await newUser(before), await newUser(before)]
    await before.close()
    gateway = await startGateway({ databaseUrl: before.databaseUrl, secretKey: before.secretKey, config: costs(2048, 2) })
  })
  afterAll(() => gateway.close())
  /** Cost parameters of a PHC string, whatever their order. */
  const costOf = (hash: string) => hash.split('$')[3]!.split(',').sort().join(',')
  const hashOf = async ({ id }: TestUser): Promise<string> =>
    (await rows(gateway, 'SELECT password_hash FROM users WHERE id = $1', [id]))[0].password_hash

  it('renews the hash, once, and the password stays the same', async () => {
    const [user] = users as [TestUser]
    expect(costOf(await hashOf(user))).toBe('m=1024,p=1,t=1')
    await login(gateway, user)
    const renewed = await hashOf(user)
    expect(renewed).toMatch(/^\$argon2id\$v=19\$/)
    expect(costOf(renewed)).toBe('m=2048,p=1,t=2')
    await login(gateway, user)
    expect(await hashOf(user)).toBe(renewed)
  })

  it('renews nothing when the password was wrong', async () => {
    const user = users[1]!
    const before = await hashOf(user)
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: 'a wrong password' } })).status).toBe(401)
    expect(await hashOf(user)).toBe(before)
  })

  it('does not undo a password change that came in between', async () => {
    const user = users[2]!
    const { passwords } = gateway.app.identity
    const { hash } = passwords
    // the login hashes anew; before it writes, the password is changed
    passwords.hash = async (password) => {
      passwords.hash = hash
      const renewed = await hash(password)
      const body = { current_password: user.password, new_password: 'quite another password' }
      expect((await call(gateway, '/auth/password/change', { token: user.token, body })).status).toBe(200)
      return renewed
    }
    expect((await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).status).toBe(401)
    await login(gateway, { ...user, password: 'quite another password' })
  })
})
