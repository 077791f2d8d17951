/** Sign-in with a real provider, in a real browser. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type BrowserGateway, useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser } from '../support/client.ts'
import { type FakeProvider, startFakeProvider } from '../support/fake-provider.ts'
import { type RealProvider, startRealProvider } from '../support/openid-provider.ts'
import { freePort } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const PEOPLE = ['ann', 'bob', 'cleo', 'dan', 'eve'].map((sub) => ({
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
        { id: 'github', kind: 'github', issuer: 'http://127.0.0.1:9', clientId: 'x', clientSecretEnv: 'WORK_SECRET' },
      ],
    },
  },
  env: { WORK_SECRET: provider.clientSecret },
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
