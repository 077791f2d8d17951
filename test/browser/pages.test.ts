/** What holds for all pages that everyone may open: accessible, narrow, dark, in German, by keyboard, light, and silent after a logout. */
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { scrollsSideways, useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser, OPERATOR, proveAddress, type TestUser } from '../support/client.ts'
import { type FactorUser, newFactorUser } from '../support/totp.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const gateway = useBrowserGateway({
  config: { auth: { browser: { brand: { name: 'Harbour Shop', supportUrl: 'https://example.com/help' } } } },
})
let user: TestUser
let guarded: FactorUser
beforeAll(async () => {
  ;[user, guarded] = await Promise.all([newUser(gateway), newFactorUser(gateway)])
  await proveAddress(gateway, user)
})

const send = (visit: Visit) => visit.page.click('main form button')

async function passwordStep(visit: Visit, { username, password }: TestUser) {
  await visit.open('/login')
  await visit.page.fill('[name=login]', username)
  await visit.page.fill('[name=password]', password)
  await send(visit)
}

/** Every view, with the way to it. */
const VIEWS: Record<string, (visit: Visit) => Promise<unknown>> = {
  login: (visit) => visit.open('/login'),
  'a wrong password': async (visit) => {
    await passwordStep(visit, { ...user, password: 'secret zebra 17' })
    await visit.page.waitForSelector('[role=alert]')
  },
  'the second step': async (visit) => {
    await passwordStep(visit, guarded)
    await visit.page.waitForURL(/\/factor/)
  },
  'a backup code': async (visit) => {
    await passwordStep(visit, guarded)
    await visit.page.waitForURL(/\/factor/)
    await visit.open('/factor?backup=1')
  },
  'the password again': async (visit) => {
    await passwordStep(visit, user)
    await visit.page.waitForURL(/\/account/)
    await visit.open('/login')
    await visit.page.waitForSelector('[readonly]')
  },
  logout: async (visit) => {
    await passwordStep(visit, user)
    await visit.page.waitForURL(/\/account/)
    await visit.open('/logout')
  },
  'logged out': (visit) => visit.open('/login?done=logout'),
  'blocked cookies': (visit) => visit.open('/login?check=1'),
  register: (visit) => visit.open('/register'),
  'a refused registration': async (visit) => {
    await visit.open('/register')
    await visit.page.fill('[name=email]', user.email)
    await visit.page.fill('[name=username]', user.username)
    await visit.page.fill('[name=password]', 'short')
    await send(visit)
    await visit.page.waitForSelector('[aria-invalid=true]')
  },
  forgot: (visit) => visit.open('/forgot'),
  'a mail is sent': (visit) => visit.open('/forgot?sent=1'),
  verify: (visit) => visit.open('/verify?sent=1'),
  'an invalid link': async (visit) => {
    await visit.open('/reset')
    await visit.page.fill('[name=link]', 'rubbish')
    await send(visit)
    await visit.page.waitForSelector('[role=alert]')
  },
  'an opened link': async (visit) => {
    await visit.open(await gateway.mailedLink(user.email, 'verify_email'))
    await visit.page.waitForURL(/step=2/)
  },
}

const NARROW = { width: 320, height: 640 }

describe('accessible, as wide as the window, and without complaints', () => {
  it.each(Object.keys(VIEWS))('%s: light and dark, wide and narrow', async (name) => {
    const visit = await gateway.visit()
    await VIEWS[name]!(visit)
    expect(await visit.violations()).toEqual([])
    await visit.page.emulateMedia({ colorScheme: 'dark' })
    expect(await visit.violations()).toEqual([])
    await visit.page.setViewportSize(NARROW)
    expect(await scrollsSideways(visit.page)).toBe(false)
    expect(await visit.page.getAttribute('html', 'lang')).toBe('en')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it.each(Object.keys(VIEWS))('%s: in German, narrow', async (name) => {
    const visit = await gateway.visit({ isGerman: true, isNarrow: true })
    await VIEWS[name]!(visit)
    expect(await visit.violations()).toEqual([])
    expect(await scrollsSideways(visit.page)).toBe(false)
    expect(await visit.page.getAttribute('html', 'lang')).toBe('de')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })
})

describe('a light page', () => {
  it('is usable after at most three requests, and at most 30 kB with its style', async () => {
    for (const path of ['/login', '/register', '/forgot', '/verify', '/reset']) {
      const visit = await gateway.visit()
      const sizes: Promise<number>[] = []
      visit.page.on('requestfinished', (request) => {
        if (request.url().startsWith('data:')) return
        sizes.push(request.sizes().then((size) => size.responseBodySize + size.responseHeadersSize))
      })
      await visit.page.goto(`${gateway.origin}/auth/ui${path}`, { waitUntil: 'networkidle' })
      const all = await Promise.all(sizes)
      expect(all.length).toBeLessThanOrEqual(3)
      expect(all.reduce((sum, size) => sum + size, 0)).toBeLessThan(30_000)
      await visit.close()
    }
  })
})

describe('by keyboard alone', () => {
  it('a user logs in, and reaches every control in its order', async () => {
    const visit = await gateway.visit()
    const { page } = visit
    await visit.open('/login')
    const focused = () => page.evaluate('document.activeElement.name || document.activeElement.textContent.trim()')
    expect(await focused()).toBe('login')
    await page.keyboard.type(user.username)
    await page.keyboard.press('Tab')
    expect(await focused()).toBe('password')
    await page.keyboard.type(user.password)
    const order = []
    for (let i = 0; i < 5; i++) {
      await page.keyboard.press('Tab')
      order.push(await focused())
    }
    // the box has no name: it is for the script alone
    expect(order).toEqual(['', 'remember', 'Log in', 'Forgotten your password?', 'Create an account'])
    await page.focus('[name=password]')
    await page.keyboard.press('Enter')
    await page.waitForURL(/\/account/)
    await visit.close()
  })

  it('the first stop of the Tab key leads to the content', async () => {
    const visit = await gateway.visit()
    await visit.open('/forgot')
    await visit.page.keyboard.press('Tab')
    expect(await visit.page.evaluate('document.activeElement.getAttribute("href")')).toBe('#content')
    await visit.close()
  })
})

describe('a password manager', () => {
  const FIELDS = `[...document.querySelectorAll('main input:not([type=checkbox])')].map((f) => [f.name, f.type, f.autocomplete].join(' '))`
  const seen = (visit: Visit) => visit.page.evaluate(FIELDS)

  it('finds the right fields in every form', async () => {
    const visit = await gateway.visit()
    await visit.open('/login')
    expect(await seen(visit)).toEqual(['login text username', 'password password current-password'])
    await visit.open('/register')
    expect(await seen(visit)).toEqual(['email email email', 'username text username', 'password password new-password'])
    await VIEWS['the second step']!(visit)
    expect(await seen(visit)).toEqual(['code text one-time-code'])
    await visit.close()
  })
})

describe('a session', () => {
  it('leaves no private page behind after the logout', async () => {
    for (const hasJavaScript of [true, false]) {
      const visit = await gateway.visit({ hasJavaScript })
      const { page } = visit
      await VIEWS['the password again']!(visit)
      expect(await page.inputValue('[readonly]')).toBe(user.username)
      await page.click('header button')
      await page.waitForURL(/done=logout/)
      await page.goBack({ waitUntil: 'load' })
      await page.waitForSelector('[name=login]')
      expect(await page.content()).not.toContain(user.username)
      await visit.close()
    }
  })

  it('goes on in a second tab, after a login in the first', async () => {
    const visit = await gateway.visit()
    const second = await visit.context.newPage()
    await second.goto(`${gateway.origin}/auth/ui/login`)
    await passwordStep(visit, user)
    await visit.page.waitForURL(/\/account/)
    // the form of the second tab still works, for another user too
    await second.fill('[name=login]', guarded.username)
    await second.fill('[name=password]', guarded.password)
    await second.click('main form button')
    await second.waitForURL(/\/factor/)
    await visit.close()
  })

  it('is refused with an explanation when the browser keeps no cookies', async () => {
    const visit = await gateway.visit()
    await visit.open('/login?check=1&return_to=%2Fapi')
    expect(await visit.text()).toContain('Allow cookies for this site')
    await visit.page.click('main .button')
    await visit.page.waitForURL('**/auth/ui/login?return_to=%2Fapi')
    await visit.close()
  })
})

describe('the language', () => {
  it('is chosen on the page, and stays', async () => {
    for (const hasJavaScript of [true, false]) {
      const visit = await gateway.visit({ hasJavaScript })
      await visit.open('/register?return_to=%2Fapi')
      await visit.page.click('footer >> text=Deutsch')
      await visit.page.waitForURL('**/auth/ui/register?return_to=%2Fapi')
      expect(await visit.text()).toContain('Konto anlegen')
      await visit.open('/login')
      expect(await visit.text()).toContain('Angemeldet bleiben')
      await visit.close()
    }
  })
})

it('a user who was disabled meanwhile finds the login page', async () => {
  const other = await newUser(gateway)
  const visit = await gateway.visit()
  await visit.logIn(other)
  await gateway.app.identity.administration.disable(other.id, OPERATOR)
  await visit.open('/login')
  expect(await visit.page.inputValue('[name=login]')).toBe('')
  expect((await visit.context.cookies()).filter(({ name }) => name === 'portcullis-dev')).toEqual([])
  await visit.close()
})
