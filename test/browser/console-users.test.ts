/** The console in a real browser: a whole journey, without a mouse, without JavaScript, in all looks. */
import { beforeAll, describe, expect, it } from 'vitest'
import { scrollsSideways, useBrowserGateway, type Visit, type VisitOptions } from '../support/browser-gateway.ts'
import { newUser, newUserWithRoles, type TestUser } from '../support/client.ts'
import { rows } from '../support/rows.ts'

const gateway = useBrowserGateway()
let admin: TestUser
beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
}, 60_000)

const home = () => `${gateway.adminUrl.replace('127.0.0.1', 'localhost')}/console`

async function enter(options: VisitOptions = {}, path = ''): Promise<Visit> {
  const visit = await gateway.visit(options)
  await visit.open(home() + path)
  await visit.page.fill('[name=login]', admin.username)
  await visit.page.fill('[name=password]', admin.password)
  await Promise.all([visit.page.waitForURL((url) => !/\/login/.test(url.pathname)), visit.page.click('main form button')])
  return visit
}

/** The listener of the console is another origin than the one that visits watch. */
const troubles = ({ complaints }: Visit) => complaints.filter((complaint) => !complaint.startsWith(`elsewhere: ${home()}`))

const userOf = async (email: string) => (await rows(gateway, 'SELECT * FROM users WHERE email_canonical = $1', [email]))[0] as any

describe.each([
  ['with JavaScript', {}],
  ['without JavaScript', { hasJavaScript: false }],
] as const)('%s', (name, options) => {
  it('an administrator creates, finds, disables and deletes a user', async () => {
    const email = `journey-${name.startsWith('without') ? 'plain' : 'script'}@example.com`
    const visit = await enter(options)
    const { page } = visit
    await page.click('text=New user')
    await page.fill('[name=username]', email.split('@')[0]!)
    await page.fill('[name=email]', email)
    await page.click('button:has-text("Create the user")')
    expect(await page.locator('code.secret').innerText()).toMatch(/^\S{20,}$/)
    await page.click('text=I have passed it on')
    const user = await userOf(email)
    expect(user).toMatchObject({ password_must_change: true, roles: ['user'] })

    await page.click('nav.sections >> text=Users')
    await page.fill('[name=search]', 'journey-')
    await page.click('button:has-text("Filter")')
    await page.click(`a[href$="${user.id}"]`)
    await page.click('a:has-text("Disable")')
    expect(await visit.text()).toContain('All sessions end at once')
    expect((await userOf(email)).disabled_at).toBeNull()
    await page.click('button:has-text("Disable")')
    await page.waitForURL(/done=disable/)
    expect(await page.locator('[role=status]').innerText()).toContain('is disabled')
    expect((await userOf(email)).disabled_at).not.toBeNull()

    await page.click('a:has-text("Delete")')
    await page.click('a:has-text("Cancel")')
    expect(await userOf(email)).toBeDefined()
    await page.click('a:has-text("Delete")')
    await page.click('button:has-text("Delete")')
    await page.waitForURL(/users\?done=delete/)
    expect(await userOf(email)).toBeUndefined()
    expect(troubles(visit)).toEqual([])
    await visit.close()
  }, 60_000)

  it('a refusal keeps what was typed', async () => {
    const visit = await enter(options, '/users/new')
    const { page } = visit
    await page.fill('[name=username]', admin.username)
    await page.fill('[name=email]', 'free@example.com')
    await page.check('[name="role:admin"]')
    await page.click('button:has-text("Create the user")')
    expect(await page.locator('[role=alert]').count()).toBe(1)
    expect(await visit.text()).toContain('taken')
    expect(await page.inputValue('[name=email]')).toBe('free@example.com')
    expect(await page.isChecked('[name="role:admin"]')).toBe(true)
    await visit.close()
  }, 60_000)
})

it('works with the keyboard alone', async () => {
  const { id } = await newUser(gateway)
  const visit = await gateway.visit()
  const { page } = visit
  await visit.open(`${home()}/users/${id}/disable`)
  await page.focus('[name=login]')
  await page.keyboard.type(admin.username)
  await page.keyboard.press('Tab')
  await page.keyboard.type(admin.password)
  await Promise.all([page.waitForURL(({ pathname }) => pathname.endsWith('/disable')), page.keyboard.press('Enter')])
  await page.keyboard.press('Tab')
  expect(await page.evaluate('document.activeElement.className')).toBe('skip')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Disable')
  await Promise.all([page.waitForURL(/done=disable/), page.keyboard.press('Enter')])
  await visit.close()
}, 60_000)

it('after the logout, the back button shows nothing of the console', async () => {
  const visit = await enter()
  const { page } = visit
  await Promise.all([page.waitForURL(/done=logout/), page.click('button:has-text("Log out")')])
  await page.goBack()
  await page.waitForURL(/\/console\/login/)
  expect(await visit.text()).not.toContain(admin.email)
  await visit.close()
}, 60_000)

describe.each([
  ['light', {}],
  ['dark', { isDark: true }],
  ['German, 320 px', { isGerman: true, isNarrow: true }],
] as const)('%s', (name, options) => {
  it('axe finds nothing on any page, and nothing is wider than the window', async () => {
    const { id } = await newUser(gateway)
    await rows(gateway, `UPDATE users SET mfa_enabled = true, metadata = '{"public":{"plan":"gold"}}' WHERE id = $1`, [id])
    const by = { actor: 'test', context: { ip: null, userAgent: null, requestId: null } }
    const { client } = await gateway.app.identity.clients.create({ name: name.replaceAll(/\W/g, ''), roles: ['user'] }, by)
    const visit = await gateway.visit(options)
    const { page } = visit
    const look = async () => {
      expect(await visit.violations(), page.url()).toEqual([])
      expect(await scrollsSideways(page), page.url()).toBe(false)
    }
    await visit.open(home())
    await look()
    await page.fill('[name=login]', admin.username)
    await page.fill('[name=password]', admin.password)
    await Promise.all([page.waitForURL(/console\/users/), page.click('main form button')])
    const user = `/users/${id}`
    const machine = `/clients/${client.id}`
    const paths = [
      '/users',
      user,
      '/users/new',
      `${user}/delete`,
      `${user}/grant?role=admin`,
      `${user}/revoke?role=user`,
      `${user}/metadata`,
      '/clients',
      '/clients/new',
      machine,
      `${machine}/rotate-secret`,
      '/users/none',
      '/login',
      '/logout',
    ]
    for (const path of paths) {
      await visit.open(home() + path)
      await look()
    }
    await visit.open(`${home()}/users/new`)
    await page.fill('[name=username]', 'x')
    await page.fill('[name=email]', 'a@b')
    await page.click('main form button')
    await look()
    expect(await page.locator('html').getAttribute('lang')).toBe('isGerman' in options ? 'de' : 'en')
    expect(troubles(visit)).toEqual([])
    await visit.close()
  }, 120_000)
})
