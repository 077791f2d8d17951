/** The login with a mailed code or link, in a real browser. */
import { describe, expect, it, vi } from 'vitest'
import { useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser, proveAddress, type TestUser } from '../support/client.ts'
import { loginMails, otherThan } from '../support/email-login.ts'
import { until } from '../support/processes.ts'
import { codeOf, enrol } from '../support/totp.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const gateway = useBrowserGateway({ config: { auth: { emailLogin: 'on' } } })

async function newProven(): Promise<TestUser> {
  const user = await newUser(gateway)
  await proveAddress(gateway, user)
  return user
}

/** From the login page to the form for the code. @returns the code of the mail */
async function askForCode({ page, open }: Visit, { email }: TestUser, path = '/login'): Promise<string> {
  const before = (await loginMails(gateway, email)).length
  await open(path)
  await page.click('text=Send me a code instead')
  await page.waitForURL((url) => url.pathname === '/auth/ui/login/email')
  await page.fill('[name=email]', email)
  await page.click('main form button')
  await page.waitForURL((url) => url.searchParams.get('step') === '2')
  const mail = await until(async () => (await loginMails(gateway, email))[before], 'the mail')
  return mail.data.code
}

async function enterCode({ page }: Visit, code: string): Promise<void> {
  await page.fill('[name=code]', code)
  await Promise.all([page.waitForEvent('load'), page.click('main form button')])
}

describe.each([
  ['with JavaScript', true],
  ['without JavaScript', false],
])('%s', (_how, hasJavaScript) => {
  it('a person logs in with a code, and goes on to where they wanted', async () => {
    const user = await newProven()
    const visit = await gateway.visit({ hasJavaScript })
    const { page } = visit
    const code = await askForCode(visit, user, '/login?return_to=%2Fauth%2Fui%2Faccount%2Fprofile')
    expect(await visit.text()).toContain('If there is an account with this address, a code is on its way.')
    await enterCode(visit, otherThan(code))
    await page.waitForSelector('[role=alert]')
    expect(await visit.text()).toContain('The code is wrong, or no longer valid.')
    await enterCode(visit, code)
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/profile')
    expect(await page.inputValue('[name=username]')).toBe(user.username)
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('a person with a second factor is asked for it', async () => {
    const user = await enrol(gateway, await newProven())
    const visit = await gateway.visit({ hasJavaScript })
    await enterCode(visit, await askForCode(visit, user))
    await visit.page.waitForURL((url) => url.pathname === '/auth/ui/factor')
    await enterCode(visit, codeOf(user.secret))
    await visit.page.waitForURL((url) => url.pathname === '/auth/ui/account')
    await visit.close()
  })

  it('the link logs in where it is opened, after a click on a page that names the account and the device', async () => {
    const user = await newProven()
    const [asking, reading] = [await gateway.visit({ hasJavaScript }), await gateway.visit({ hasJavaScript })]
    const code = await askForCode(asking, user)
    const link = await gateway.mailedLink(user.email, 'email_login')
    const { page } = reading
    await reading.open(link)
    if (!hasJavaScript) {
      await page.fill('[name=link]', link)
      await page.click('main form button')
    }
    await page.waitForURL((url) => url.search === '?step=2')
    expect(page.url()).not.toContain('token')
    expect(await reading.text()).toContain(user.email)
    expect(await reading.text()).toContain('on Linux')
    expect(await page.inputValue('[autocomplete=username]')).toBe(user.username)
    await page.click('text=Log in here')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    // the code of the link is used up with it
    await enterCode(asking, code)
    await asking.page.waitForSelector('[role=alert]')
    expect(await asking.text()).toContain('The code is wrong, or no longer valid.')
    expect(reading.complaints).toEqual([])
    await Promise.all([asking.close(), reading.close()])
  })

  it('five wrong codes end the code, and another one is sent', async () => {
    const user = await newProven()
    const visit = await gateway.visit({ hasJavaScript })
    const code = await askForCode(visit, user)
    for (let i = 0; i < 6; i++) {
      await enterCode(visit, i < 5 ? otherThan(code) : code)
      await visit.page.waitForSelector('[role=alert]')
    }
    expect(await visit.text()).toContain('too many wrong codes were entered')
    await visit.page.fill('[name=email]', user.email)
    await visit.page.click('main form button')
    await visit.page.waitForURL((url) => url.search === '?step=2')
    const next = await until(async () => (await loginMails(gateway, user.email))[1], 'another mail')
    await enterCode(visit, next.data.code)
    await visit.page.waitForURL((url) => url.pathname === '/auth/ui/account')
    await visit.close()
  })
})

it('the pages have no fault that axe-core finds, and German readers read German', async () => {
  const user = await newProven()
  const visit = await gateway.visit()
  await askForCode(visit, user)
  expect(await visit.violations()).toEqual([])
  await visit.open('/login/email')
  expect(await visit.violations()).toEqual([])
  await visit.open(await gateway.mailedLink(user.email, 'email_login'))
  await visit.page.waitForURL((url) => url.search === '?step=2')
  expect(await visit.violations()).toEqual([])
  await visit.close()
  const german = await gateway.visit({ isGerman: true, isNarrow: true })
  await german.open('/login')
  await german.page.click('text=Lieber einen Code per E-Mail')
  expect(await german.text()).toContain('Wir senden Ihnen einen Code')
  await german.close()
})
