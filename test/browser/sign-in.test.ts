/** Sign-in with a real provider, in a real browser. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type BrowserGateway, useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser, OPERATOR } from '../support/client.ts'
import { type FakeProvider, startFakeProvider } from '../support/fake-provider.ts'
import { type RealProvider, startRealProvider } from '../support/openid-provider.ts'
import { freePort, until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const PEOPLE = ['ann', 'bob', 'cleo', 'dan', 'eve', 'finn', 'gil'].map((sub) => ({
  sub,
  email: `${sub}@example.com`,
  email_verified: true,
  preferred_username: sub,
}))

let provider: RealProvider
let apple: FakeProvider
let port = 0
beforeAll(async () => {
  port = await freePort()
  provider = await startRealProvider({ gateway: `http://localhost:${port}/auth`, id: 'work', people: PEOPLE })
  apple = await startFakeProvider({ kind: 'apple' })
})
afterAll(async () => {
  await provider.close()
  await apple.close()
})

const gateway: BrowserGateway = useBrowserGateway(() => ({
  port,
  config: {
    server: { publicUrl: `http://localhost:${port}` },
    auth: {
      providers: [
        {
          id: 'work',
          kind: 'oidc',
          label: 'Example Work',
          issuer: provider.issuer,
          clientId: provider.clientId,
          clientSecretEnv: 'WORK_SECRET',
          allowedDomains: ['example.com'],
          trustEmail: true,
        },
        { id: 'apple', kind: 'apple', issuer: apple.issuer, clientId: apple.clientId, clientSecretEnv: 'APPLE_SECRET' },
        { id: 'github', kind: 'github', issuer: 'http://127.0.0.1:9', clientId: 'x', clientSecretEnv: 'WORK_SECRET' },
      ],
    },
  },
  env: { WORK_SECRET: provider.clientSecret, APPLE_SECRET: apple.clientSecret },
}))

/** What the pages of the gateway complain about. */
const own = ({ complaints }: Visit) =>
  complaints.filter((text) => !text.includes(provider.issuer) && !text.includes('status of 404 (Not Found)'))

async function signIn({ page, open }: Visit, name: string, path = '/login'): Promise<void> {
  await open(path)
  await page.click('text=Continue with Example Work')
  await page.waitForURL((url) => url.origin === provider.issuer)
  await page.fill('[name=name]', name)
  await page.click('button')
}

describe.each([
  ['with JavaScript', true],
  ['without JavaScript', false],
])('%s', (_how, hasJavaScript) => {
  const name = hasJavaScript ? 'ann' : 'bob'

  it('a person signs in, goes on to where they wanted, and logs out at the provider, too', async () => {
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await signIn(visit, name, '/login?return_to=%2Fauth%2Fui%2Faccount%2Fprofile')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/profile')
    expect(await page.inputValue('[name=username]')).toBe(name)
    await visit.open('/account')
    await page.click('header button')
    await page.waitForURL((url) => url.origin === provider.issuer)
    await page.click('button[value=yes]')
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
    expect(await visit.text()).toContain('You are logged out.')
    expect(own(visit)).toEqual([])
    await visit.close()
  })

  it('a person who cancels comes to a page with the other ways', async () => {
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await visit.open('/login')
    await page.click('text=Continue with Example Work')
    await page.click('text=Cancel')
    await page.waitForURL((url) => url.pathname.endsWith('/callback'))
    expect(await visit.text()).toContain('The sign-in was cancelled or refused.')
    await page.click('text=Log in in another way')
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
    await visit.close()
  })

  it('a user links a login and unlinks it', async () => {
    const user = await newUser(gateway)
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await visit.logIn(user)
    await visit.open('/account/logins')
    await page.click('button[aria-label="Link: Example Work"]')
    await page.waitForURL((url) => url.origin === provider.issuer)
    await page.fill('[name=name]', hasJavaScript ? 'cleo' : 'dan')
    await page.click('button')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/logins')
    expect(await visit.text()).toContain('The login is linked.')
    await page.click('summary')
    await page.click('button[aria-label="Unlink: Example Work"]')
    await page.waitForURL((url) => url.search === '?done=unlinked')
    expect(await visit.text()).toContain('No login is linked.')
    expect(own(visit)).toEqual([])
    await visit.close()
  })
})

describe.each([
  ['with JavaScript', true],
  ['without JavaScript', false],
])('an invited person, %s', (_how, hasJavaScript) => {
  const name = hasJavaScript ? 'finn' : 'gil'
  const invited = async (visit: Visit, address: string, roles: string[]) => {
    await gateway.app.identity.administration.invite({ email: address, roles }, OPERATOR)
    const link = await gateway.mailedLink(address, 'invitation')
    await visit.open(link)
    if (!hasJavaScript) {
      await visit.page.fill('[name=link]', link)
      await visit.page.click('main form button')
    }
    await visit.page.waitForURL((url) => url.search === '?step=2')
    expect(visit.page.url()).not.toContain('token')
  }

  it('chooses a password, and is logged in', async () => {
    const visit = await gateway.visit({ hasJavaScript })
    await invited(visit, `${name}-new@example.com`, ['user'])
    if (hasJavaScript) expect(await visit.violations()).toEqual([])
    await visit.page.fill('[name=username]', `${name}new`)
    await visit.page.fill('[name=password]', 'plain zebra umbrella')
    await visit.page.click('text=Create the account')
    await visit.page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(await visit.text()).toContain(`${name}-new@example.com`)
    expect(own(visit)).toEqual([])
    await visit.close()
  })

  it('signs in with a provider, and gets the roles of the invitation', async () => {
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await invited(visit, `${name}-work@example.com`, ['user', 'admin'])
    await page.click('text=Continue with Example Work')
    await page.waitForURL((url) => url.origin === provider.issuer)
    await page.fill('[name=name]', name)
    await page.click('button')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    const user = await gateway.app.identity.administration.find(`${name}-work@example.com`)
    expect(user.roles).toEqual(['admin', 'user'])
    expect(own(visit)).toEqual([])
    await visit.close()
  })

  it('who has an account logs in, and accepts', async () => {
    const user = await newUser(gateway)
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await invited(visit, user.email, ['admin'])
    expect(await visit.text()).toContain('There is an account with this address.')
    await page.click('main a.button')
    await page.fill('[name=login]', user.username)
    await page.fill('[name=password]', user.password)
    await page.click('main form button:not([type=button])')
    await page.waitForURL((url) => url.pathname === '/auth/ui/invitation')
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?done=1')
    expect((await gateway.app.identity.administration.find(user.email)).roles).toEqual(['admin', 'user'])
    expect(own(visit)).toEqual([])
    await visit.close()
  })

  it('signs in with Apple, whose answer is a form of another site', async () => {
    apple.person = { sub: `apple-${name}`, email: `${name}@apple.example.com`, email_verified: 'true' }
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    await visit.open('/login')
    await page.click('text=Continue with Apple')
    await page.waitForURL((url) => url.origin === apple.issuer)
    await page.click('button')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(await visit.text()).toContain(`${name}@apple.example.com`)
    await visit.close()
  })
})

it('who logs out at the provider is logged out here', async () => {
  const visit = await gateway.visit()
  const { page } = visit
  await signIn(visit, 'eve')
  await page.waitForURL((url) => url.pathname === '/auth/ui/account')
  await page.goto(`${provider.issuer}/session/end`)
  await page.click('button[value=yes]')
  await until(async () => {
    await visit.open('/account')
    return new URL(page.url()).pathname === '/auth/ui/login'
  }, 'the session is over')
  await visit.close()
})

it('a provider that does not answer leaves the other ways open', async () => {
  const visit = await gateway.visit()
  await visit.open('/login')
  // nothing listens at this GitHub
  await visit.page.route('http://127.0.0.1:9/**', (route) =>
    route.fulfill({ status: 303, headers: { location: new URL('/', gateway.origin).href } }),
  )
  expect(await visit.text()).toContain('Continue with GitHub')
  expect(await visit.violations()).toEqual([])
  await visit.close()
})

it.each([
  ['light', {}],
  ['dark', { isDark: true }],
  ['narrow', { isNarrow: true }],
  ['German', { isGerman: true }],
])('the pages are accessible: %s', async (_look, options) => {
  const visit = await gateway.visit(options)
  await visit.open('/login')
  expect(await visit.violations()).toEqual([])
  await visit.logIn(await newUser(gateway))
  await visit.open('/account/logins')
  expect(await visit.violations()).toEqual([])
  await visit.close()
})
