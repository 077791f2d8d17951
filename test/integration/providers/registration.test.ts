/** Who may come in for the first time, by `auth.registration` and `auth.emailVerification`. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { OPERATOR } from '../../support/client.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { type SignInGateway, startSignInGateway, userOf } from '../../support/sign-in.ts'

let provider: FakeProvider
beforeAll(async () => {
  provider = await startFakeProvider()
})
afterAll(() => provider.close())

const lastOutcome = (gateway: SignInGateway) =>
  gateway
    .log()
    .filter(({ msg }) => msg === 'request')
    .at(-1)!.outcome

let gateway: SignInGateway
afterEach(() => gateway.close())

let count = 0
const somebody = (more: object = {}) => {
  const sub = `first-${count++}`
  provider.person = { sub, email: `${sub}@example.com`, email_verified: true, ...more }
  return provider.person
}

describe('while registration is closed', () => {
  it('a stranger is refused with a page, and a user whose login is linked comes in', async () => {
    gateway = await startSignInGateway({
      openId: provider,
      settings: { allowedDomains: ['example.com'], trustEmail: true },
      auth: { registration: 'closed' },
    })
    const { email } = somebody()
    const refused = await gateway.signIn(gateway.agent())
    expect([refused.status, lastOutcome(gateway)]).toEqual([403, 'registration_closed'])
    expect(refused.html).toContain('Log in in another way')
    // an operator makes the account, and the provider proves its address
    await gateway.app.identity.administration.create({ email, username: 'known', roles: ['user'], mustChangePassword: true }, OPERATOR)
    const agent = gateway.agent()
    await gateway.signIn(agent)
    expect((await userOf(agent))!.user).toMatchObject({ email, username: 'known' })
  })
})

describe('while addresses must be proven', () => {
  it.each<[string, object, object, string | null]>([
    ['an address of a trusted provider is', {}, { allowedDomains: ['example.com'], trustEmail: true }, null],
    ['an address of another provider is not', {}, {}, 'email_unproven'],
    ['no address is not', { email: undefined }, {}, 'email_unproven'],
  ])('%s proven', async (_, person, settings, code) => {
    gateway = await startSignInGateway({ openId: provider, settings, auth: { emailVerification: 'required' } })
    somebody(person)
    const agent = gateway.agent()
    const answer = await gateway.signIn(agent)
    if (code === null) expect((await userOf(agent))!.user.email_verified).toBe(true)
    else {
      expect([answer.status, lastOutcome(gateway)]).toEqual([403, code])
      expect(answer.html).toContain('Log in in another way')
    }
  })
})

it('roles follow a claim at each sign-in, no claim makes an administrator by itself, and the last one stays', async () => {
  gateway = await startSignInGateway({
    openId: provider,
    settings: { roles: { claim: 'groups', map: { staff: ['editor'], bosses: ['admin'] } } },
    auth: { roles: { admin: {}, user: {}, editor: {} } },
  })
  const rolesWith = async (groups: unknown) => {
    provider.person = { ...provider.person, groups }
    const agent = gateway.agent()
    await gateway.signIn(agent)
    return (await userOf(agent))!.user.roles
  }
  somebody()
  expect(await rolesWith(['staff', 'admin', '__proto__', 'constructor'])).toEqual(['editor', 'user'])
  expect(await rolesWith(['bosses', 7, { a: 1 }])).toEqual(['admin', 'user'])
  // the last administrator
  expect(await rolesWith([])).toEqual(['admin', 'user'])
  const first = provider.person
  somebody()
  expect(await rolesWith('bosses')).toEqual(['admin', 'user'])
  provider.person = first
  expect(await rolesWith(['staff'])).toEqual(['editor', 'user'])
  // providers leave an empty claim out
  expect(await rolesWith(undefined)).toEqual(['user'])
})
