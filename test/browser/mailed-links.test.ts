import { describe, expect, it, vi } from 'vitest'
import { useBrowserGateway, type Visit, type VisitOptions } from '../support/browser-gateway.ts'
import { newUser } from '../support/client.ts'
import { until } from '../support/processes.ts'
import { rows } from '../support/rows.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const plain = useBrowserGateway()
const secure = useBrowserGateway({ isSecure: true })
const proving = useBrowserGateway({ config: { auth: { emailVerification: 'required', username: 'optional' } } })

it.each<[string, () => typeof plain, VisitOptions]>([
  ['over http on loopback', () => plain, {}],
  ['over http on loopback, without JavaScript', () => plain, { hasJavaScript: false }],
  ['over TLS', () => secure, {}],
  ['over TLS, without JavaScript', () => secure, { hasJavaScript: false }],
])('a forgotten password is replaced by the mailed link %s', async (_where, gatewayOf, options) => {
  const gateway = gatewayOf()
  const user = await newUser(gateway)
  const visit = await gateway.visit(options)
  const { page } = visit
  await visit.open('/forgot')
  await page.fill('[name=email]', user.email)
  await page.click('main form button')
  expect(await visit.text()).toContain('a link is on its way')

  const link = await gateway.mailedLink(user.email, 'reset_password')
  expect(link).toMatch(/\/auth\/ui\/reset#token=/)
  await visit.open(link)
  if (options.hasJavaScript === false) {
    await page.fill('[name=link]', link)
    await page.click('main form button')
  }
  await page.waitForURL((url) => url.search === '?step=2')
  expect(page.url()).not.toContain('token')
  expect(await visit.text()).toContain(user.email)
  expect(await page.inputValue('[autocomplete=username]')).toBe(user.username)

  await page.fill('[name=new_password]', 'short')
  await page.click('main form button')
  expect(await page.locator('#new_password-error').innerText()).toContain('too short')
  const password = 'quiet umbrella forty two'
  await page.fill('[name=new_password]', password)
  await page.click('main form button')
  await page.waitForURL((url) => url.search === '?done=reset')
  expect(visit.complaints).toEqual([])
  await visit.close()
})

describe.each([[true], [false]])('with JavaScript: %s', (hasJavaScript) => {
  /** Opens the link of a mail, and leaves its first step. */
  async function follow(visit: Visit, link: string) {
    await visit.open(link)
    if (!hasJavaScript) {
      await visit.page.fill('[name=link]', link)
      await visit.page.click('main form button')
    }
    await visit.page.waitForURL((url) => url.search === '?step=2')
  }

  it('an address is proven first, then the new user logs in', async () => {
    const visit = await proving.visit({ hasJavaScript })
    const { page } = visit
    const email = `proof-${hasJavaScript}@example.com`
    const password = 'quiet umbrella forty two'
    await visit.open('/register')
    await page.fill('[name=email]', email)
    await page.fill('[name=password]', password)
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?sent=1')
    expect(await visit.text()).toContain('Look into your mail')

    await visit.open('/login')
    await page.fill('[name=login]', email)
    await page.fill('[name=password]', password)
    await page.click('main form button')
    expect(await visit.text()).toContain('open the link that was mailed to you')

    const first = await proving.mailedLink(email, 'verify_email')
    await visit.open('/verify')
    await page.fill('[name=email]', email)
    await page.click('main form button.quiet')
    await page.waitForURL((url) => url.search === '?sent=1')
    const link = await until(async () => {
      const newest = await proving.mailedLink(email, 'verify_email')
      return newest !== first && newest
    }, 'another mail')
    await follow(visit, link)
    await page.fill('[name=password]', 'wrong horse battery')
    await page.click('main form button')
    expect(await visit.text()).toContain('The password is wrong.')
    await page.fill('[name=password]', password)
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?done=verify')
    expect(await visit.text()).toContain('Your address is confirmed.')
    await page.fill('[name=login]', email)
    await page.fill('[name=password]', password)
    await page.click('main form button')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    await visit.close()
  })

  it('the session that asked for the link proves the address without a password', async () => {
    const visit = await plain.visit({ hasJavaScript })
    const { page } = visit
    const email = `asker-${hasJavaScript}@example.com`
    await visit.open('/register')
    await page.fill('[name=email]', email)
    await page.fill('[name=username]', `asker-${hasJavaScript}`)
    await page.fill('[name=password]', 'quiet umbrella forty two')
    await page.click('main form button')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    await follow(visit, await plain.mailedLink(email, 'verify_email'))
    expect(await page.locator('main [type=password]').count()).toBe(0)
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?done=1')
    expect(await visit.text()).toContain('Your address is confirmed.')
    await visit.close()
  })

  it('a login after the loss of the second factor is confirmed', async () => {
    const user = await newUser(plain)
    await rows(plain, 'UPDATE users SET must_confirm_login = true WHERE id = $1', [user.id])
    const visit = await plain.visit({ hasJavaScript })
    const { page } = visit
    const enter = async () => {
      await visit.open('/login')
      await page.fill('[name=login]', user.username)
      await page.fill('[name=password]', user.password)
      await page.click('main form button')
    }
    await enter()
    expect(await visit.text()).toContain('We have mailed you a link.')
    await follow(visit, await plain.mailedLink(user.email, 'confirm_login'))
    expect(await page.inputValue('[autocomplete=username]')).toBe(user.username)
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?done=confirm-login')
    await enter()
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    await visit.close()
  })
})
