/** Forms with a proof of work, in a real browser: it computes with the modules and under the policy of the gateway. */
import { randomUUID } from 'node:crypto'
import type { Page } from 'playwright-core'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { mailsTo } from '../support/mails.ts'
import { until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const many = { limit: 1000, windowSeconds: 60 }
const gateway = useBrowserGateway({
  config: {
    auth: {
      proofOfWork: { enabled: true, cost: 1000, tries: 20, loginFailures: 3 },
      browser: { brand: { supportUrl: 'https://help.example.com' } },
    },
    limits: { exempt: [], credentials: { register: many, login: many, address: many, account: many, recovery: many } },
  },
})

const newPerson = () => {
  const username = `b${randomUUID().slice(0, 20)}`
  return { username, email: `${username}@example.com`, password: 'plain zebra of fields' }
}
const fill = async (page: Page, fields: Record<string, string>) => {
  for (const [name, value] of Object.entries(fields)) await page.fill(`[name=${name}]`, value)
}
const button = (page: Page) => page.locator('main form button:not([type=button])')

/** Registers on the page, and arrives at the account. */
async function register({ page, open }: Visit, person = newPerson()) {
  await open('/register')
  await fill(page, { email: person.email, username: person.username, password: person.password })
  await button(page).click()
  await page.waitForURL((url) => url.pathname === '/auth/ui/account')
  return person
}

/** Holds requests for challenges back. @returns lets them go on */
async function holdChallenges(page: Page): Promise<() => void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  await page.route('**/auth/challenge?*', async (route) => {
    await promise
    await route.continue()
  })
  return resolve
}

describe('with JavaScript', () => {
  it('a person registers, and notices nothing', async () => {
    const visit = await gateway.visit()
    await register(visit)
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('the work begins with the first key, and is for this form', async () => {
    const visit = await gateway.visit()
    await visit.open('/forgot')
    const asked = visit.page.waitForRequest((request) => request.url().includes('/auth/challenge'))
    await visit.page.type('[name=email]', 'a')
    expect((await asked).url()).toBe(`${gateway.origin}/auth/challenge?for=forgot`)
    await visit.close()
  })

  it('a form that is sent before the work is done says so, keeps its button, and goes on by itself', async () => {
    const person = newPerson()
    const visit = await gateway.visit()
    const { page } = visit
    await register(visit, person)
    await page.context().clearCookies()
    const goOn = await holdChallenges(page)
    await visit.open('/forgot')
    await fill(page, { email: person.email })
    await page.press('[name=email]', 'Enter')
    await until(async () => (await button(page).textContent()) === 'Checking your browser…', 'the state of the button')
    expect(await button(page).isDisabled()).toBe(true)
    expect(await visit.violations()).toEqual([])
    goOn()
    await page.waitForURL((url) => url.search === '?sent=1')
    await until(async () => (await mailsTo(gateway, person.email)).some(({ template }) => template === 'reset_password'), 'the mail')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('a refused form can be sent again: each time with a new solution', async () => {
    const person = newPerson()
    const visit = await gateway.visit()
    const { page } = visit
    await visit.open('/register')
    await fill(page, { email: person.email, username: person.username, password: 'password1234' })
    await button(page).click()
    await page.waitForSelector('[aria-invalid=true]')
    await fill(page, { password: person.password })
    await button(page).click()
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('a check that fails says so, and the next try works', async () => {
    const visit = await gateway.visit()
    const { page } = visit
    await page.route('**/auth/challenge?*', (route) => route.abort())
    await visit.open('/forgot')
    await fill(page, { email: 'nobody@example.com' })
    await button(page).click()
    await page.waitForSelector('[data-proof=failed]:visible')
    expect(await visit.text()).toContain('The check of your browser did not succeed.')
    expect(await button(page).isEnabled()).toBe(true)
    await page.unroute('**/auth/challenge?*')
    await button(page).click()
    await page.waitForURL((url) => url.search === '?sent=1')
    await visit.close()
  })

  it('in German', async () => {
    const visit = await gateway.visit({ isGerman: true })
    await visit.open('/register')
    expect(await visit.page.getAttribute('form[data-challenge]', 'data-checking')).toBe('Ihr Browser wird geprüft …')
    await visit.close()
  })

  it('over plain http and another name, the form asks for https', async () => {
    const visit = await gateway.visit()
    await visit.open(`http://gateway.test:${gateway.port}/auth/ui/forgot`)
    await visit.page.waitForSelector('[data-proof=insecure]:visible')
    await fill(visit.page, { email: 'nobody@example.com' })
    await button(visit.page).click()
    expect(await visit.text()).toContain('Open the page with https.')
    expect(new URL(visit.page.url()).search).toBe('')
    await visit.close()
  })
})

describe('without JavaScript', () => {
  it.each(['/register', '/forgot'])('%s says what to do, and a form that is sent comes back with the reason', async (path) => {
    const visit = await gateway.visit({ hasJavaScript: false })
    const { page } = visit
    await visit.open(path)
    expect(await visit.text()).toContain('This form needs JavaScript')
    expect(await page.getAttribute('noscript a', 'href')).toBe('https://help.example.com')
    const { email, username, password } = newPerson()
    await fill(page, path === '/forgot' ? { email } : { email, username, password })
    await button(page).click()
    await page.waitForSelector('[role=alert]:visible')
    expect(await visit.text()).toContain('Your browser has not done the check that this form needs')
    expect(await page.inputValue('[name=email]')).toBe(email)
    await visit.close()
  })
})

// last: failures of this machine's address count for every form after them
describe('a login after failures', () => {
  let person: ReturnType<typeof newPerson>
  beforeAll(async () => {
    const visit = await gateway.visit()
    person = await register(visit)
    await visit.close()
  })
  const enter = async ({ page }: Visit, password: string) => {
    await fill(page, { login: person.username, password })
    await button(page).click()
  }

  it('computes, and logs in', async () => {
    const visit = await gateway.visit()
    const { page } = visit
    await visit.open('/login')
    for (let failures = 1; failures <= 3; failures++) {
      expect(await page.locator('form[data-challenge]').count()).toBe(0)
      const answered = page.waitForResponse((response) => response.request().method() === 'POST')
      await enter(visit, 'not the password')
      expect((await answered).status()).toBe(401)
      await page.waitForSelector('.notice.bad:visible')
    }
    expect(await page.locator('form[data-challenge]').count()).toBe(1)
    expect(await visit.violations()).toEqual([])
    await enter(visit, person.password)
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('without JavaScript says what else there is to do', async () => {
    const visit = await gateway.visit({ hasJavaScript: false })
    await visit.open('/login')
    expect(await visit.text()).toContain('Or wait ten minutes')
    await enter(visit, person.password)
    await visit.page.waitForSelector('[role=alert]:visible')
    expect(await visit.text()).toContain('Your browser has not done the check that this form needs')
    expect(await visit.page.inputValue('[name=login]')).toBe(person.username)
    await visit.close()
  })
})
