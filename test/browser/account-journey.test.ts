/** The account pages in a browser: the whole life of an account, and how each page looks to every reader. */
import { describe, expect, it, vi } from 'vitest'
import { scrollsSideways, useBrowserGateway, type VisitOptions } from '../support/browser-gateway.ts'
import { call, newUser } from '../support/client.ts'
import { rows } from '../support/rows.ts'
import { codeOf } from '../support/totp.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

const ROLES = { user: { scopes: ['orders:read', 'orders:write'] }, admin: { inherits: ['user'] } }
const gateway = useBrowserGateway({ config: { auth: { roles: ROLES } } })

const PAGES = ['', '/profile', '/password', '/factors', '/sessions', '/api-keys', '/delete']
const NEXT = 'plain zebra of other fields'

it('leads from the login over second factor, password, devices and API keys to the deletion', async () => {
  const user = await newUser(gateway)
  const visit = await gateway.visit()
  const { page } = visit
  const press = (name: string) => page.getByRole('main').getByRole('button', { name, exact: true }).click()
  await visit.logIn(user)

  await page.getByRole('navigation', { name: 'Your account' }).getByRole('link', { name: 'Two-step login' }).click()
  await page.getByLabel('Current password').fill(user.password)
  await press('Set up an app')
  await page.getByRole('img', { name: 'QR code for your authenticator app' }).waitFor()
  expect(await visit.violations()).toEqual([])
  await page.getByText('I cannot scan the picture').click()
  const secret = (await page.locator('#secret').innerText()).replaceAll(' ', '')
  await page.getByLabel('Code').fill(codeOf(secret, -1))
  await press('Confirm')
  await page.getByText('The codes are shown only now.').waitFor()
  expect(await page.locator('#codes li').count()).toBe(10)
  expect(await visit.violations()).toEqual([])
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()])
  expect(download.suggestedFilename()).toBe('backup-codes.txt')
  await page.getByRole('link', { name: 'I have saved the codes' }).click()
  await page.getByText('Backup codes left: 10.').waitFor()

  await page.getByRole('banner').getByRole('button', { name: 'Log out' }).click()
  await page.waitForURL((url) => url.pathname.endsWith('/ui/login'))
  await page.fill('[name=login]', user.username)
  await page.fill('[name=password]', user.password)
  await page.click('main form button')
  await page.fill('[name=code]', codeOf(secret))
  await page.click('main form button')
  await page.waitForURL((url) => url.pathname.endsWith('/ui/account'))

  await visit.open('/account/password')
  await page.getByLabel('Current password').fill(user.password)
  await page.getByLabel('New password').fill(NEXT)
  await press('Change the password')
  await page.getByText('Your password is changed.').waitFor()

  await visit.open('/account/sessions')
  expect(await page.getByText('This device', { exact: true }).count()).toBe(1)

  await visit.open('/account/api-keys')
  await page.getByLabel('Name').fill('Backup job')
  await page.getByLabel('Only what is chosen here').check()
  await page.getByLabel('user', { exact: true }).check()
  await page.getByLabel('Valid for').selectOption('date')
  await page.getByLabel('Last day').fill('2099-12-31')
  await press('Create the key')
  const key = await page.locator('#key').innerText()
  expect(await visit.violations()).toEqual([])
  expect((await call(gateway, '/auth/api-keys', { headers: { 'x-api-key': key } })).status).toBe(403)
  await page.reload()
  expect(await page.locator('#key').count()).toBe(0)
  await page.locator('summary', { hasText: 'Revoke' }).click()
  await press('Revoke the key: Backup job')
  await page.getByText('The key is revoked.').waitFor()

  await visit.open('/account/delete')
  await page.getByLabel('Yes, delete my account').check()
  await press('Delete the account')
  await page.getByText('Your account and your personal data are deleted.').waitFor()
  expect(await visit.violations()).toEqual([])
  expect(await rows(gateway, 'SELECT 1 FROM users WHERE id = $1', [user.id])).toEqual([])
  expect(visit.complaints).toEqual([])
  await visit.close()
})

describe.each<[string, VisitOptions]>([
  ['on a large screen', {}],
  ['at 320 px, dark', { isNarrow: true, isDark: true }],
  ['at 320 px, in German', { isNarrow: true, isGerman: true }],
])('%s', (_name, options) => {
  it('no account page has a fault that axe-core finds, or scrolls sideways', async () => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/api-keys', { token: user.token, body: { name: 'Backup job' } })
    const visit = await gateway.visit(options)
    await visit.logIn(user)
    for (const path of PAGES) {
      await visit.open(`/account${path}`)
      expect([path, await visit.violations(), await scrollsSideways(visit.page)]).toEqual([path, [], false])
    }
    await visit.open('/account/profile')
    await visit.page.fill('#email-email', 'next@example.com')
    await visit.page.fill('#email-current_password', 'not the password')
    await visit.page.keyboard.press('Enter')
    await visit.page.locator('#email-current_password-error').waitFor()
    expect(await visit.violations()).toEqual([])
    expect(await visit.page.locator('#email-email').inputValue()).toBe('next@example.com')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })
})

it('works without JavaScript', async () => {
  const user = await newUser(gateway)
  const visit = await gateway.visit({ hasJavaScript: false })
  const { page } = visit
  await visit.logIn(user)
  await visit.open('/account/factors')
  await page.getByLabel('Current password').fill(user.password)
  await page.getByRole('button', { name: 'Set up an app' }).click()
  await page.getByText('I cannot scan the picture').click()
  const secret = (await page.locator('#secret').innerText()).replaceAll(' ', '')
  await page.getByLabel('Code').fill(codeOf(secret))
  await page.getByRole('button', { name: 'Confirm' }).click()
  expect(await page.locator('#codes li').count()).toBe(10)
  expect(await page.getByRole('button', { name: 'Copy' }).isVisible()).toBe(false)
  expect(await page.getByRole('link', { name: 'Download' }).isVisible()).toBe(true)
  await visit.open('/account/api-keys')
  expect(await page.getByLabel('Last day').isVisible()).toBe(false)
  await page.getByLabel('Name').fill('Backup job')
  await page.getByRole('button', { name: 'Create the key' }).click()
  expect(await page.locator('#key').innerText()).toMatch(/^pk_live_/)
  await page.locator('summary', { hasText: 'Revoke' }).click()
  await page.getByRole('button', { name: 'Revoke the key: Backup job' }).click()
  await page.getByText('The key is revoked.').waitFor()
  await visit.close()
})
