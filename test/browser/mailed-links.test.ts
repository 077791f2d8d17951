import { expect, it, vi } from 'vitest'
import { useBrowserGateway, type VisitOptions } from '../support/browser-gateway.ts'
import { newUser } from '../support/client.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const plain = useBrowserGateway()
const secure = useBrowserGateway({ isSecure: true })

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
