/** The shop of the demo: the page, the API behind it and the routes are those of `portcullis demo`. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { parse } from 'yaml'
import { type DemoApi, startDemoApi } from '../../src/demo/api.ts'
import { scrollsSideways, useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser, newUserWithRoles, type TestUser } from '../support/client.ts'
import { useKeep } from '../support/fixtures.ts'
import { until } from '../support/processes.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

let api: DemoApi
beforeAll(async () => {
  api = await startDemoApi()
})
const demo = parse(readFileSync('config/demo.yaml', 'utf8'))
const gateway = useBrowserGateway(() => ({
  config: { auth: demo.auth },
  routes: demo.routes.map((route: object) => ({ ...route, upstream: [`http://127.0.0.1:${api.port}`] })),
}))
afterAll(() => api.close())
const keep = useKeep()

let user: TestUser
beforeEach(async () => {
  user = await newUser(gateway)
})

const openShop = async (visit: Visit, state: 'user' | 'anonymous') => {
  await visit.page.goto(`${gateway.origin}/shop/`)
  await visit.page.locator(`body[data-state=${state}]`).waitFor()
}

async function shopping(who: TestUser): Promise<Visit> {
  const visit = await keep(gateway.visit())
  await visit.logIn(who)
  await openShop(visit, 'user')
  return visit
}
const textOf = (visit: Visit, selector: string) => visit.page.innerText(selector)

describe('a visitor', () => {
  it('sees the catalog and nothing else, logs in and comes back', async () => {
    const visit = await keep(gateway.visit())
    const { page } = visit
    await openShop(visit, 'anonymous')
    expect(await textOf(visit, '#catalog')).toContain('1200 gold')
    expect(await page.locator('[data-for]:visible').count()).toBe(0)
    await page.getByRole('link', { name: 'Log in', exact: true }).click()
    await page.fill('[name=login]', user.username)
    await page.fill('[name=password]', user.password)
    await page.click('main form button')
    await page.waitForURL(`${gateway.origin}/shop/`)
    await page.locator('body[data-state=user]').waitFor()
    expect(await textOf(visit, '#account')).toContain(user.username)
  })

  it('who wants an account finds the page for it', async () => {
    const visit = await keep(gateway.visit())
    await openShop(visit, 'anonymous')
    await visit.page.getByRole('link', { name: 'Register' }).click()
    await visit.page.waitForURL((url) => url.pathname === '/auth/ui/register')
    expect(await visit.page.locator('[name=email]').count()).toBe(1)
  })
})

describe('a user', () => {
  it('places an order, and follows it in the live feed', async () => {
    const visit = await shopping(user)
    expect(await textOf(visit, '#orders')).toBe('None yet.')
    await visit.page.getByRole('button', { name: 'Order drawbridge' }).click()
    await until(async () => (await textOf(visit, '#feed')).includes('drawbridge: open'), 'the event')
    await until(async () => (await textOf(visit, '#orders')).includes('drawbridge'), 'the order')
    expect(await textOf(visit, '#message')).toMatch(/^Order \d+ is placed: drawbridge\.$/)
    expect(await visit.page.locator('[data-for=admin]:visible').count()).toBe(0)
    expect(visit.complaints).toEqual([])
  })

  it('talks to other users in the chat', async () => {
    const [ann, bob] = [await shopping(user), await shopping(await newUser(gateway))]
    await until(async () => (await textOf(ann, '#chat')).includes(`hello ${user.id}`), 'the greeting')
    await until(async () => (await textOf(bob, '#chat')).includes('hello'), 'the greeting')
    const text = `ünïcode and ${'long '.repeat(30)}`.trim()
    await ann.page.fill('#text', text)
    await ann.page.click('#say button')
    await until(async () => (await textOf(ann, '#chat')).includes(`echo: ${text}`), 'the echo')
    await until(async () => (await textOf(bob, '#chat')).includes(`${user.id.slice(-4)}: ${text}`), 'the message')
  })

  it('logs out in one tab, and the other tab shows it', async () => {
    const visit = await shopping(user)
    const other = await visit.context.newPage()
    await other.goto(`${gateway.origin}/shop/`)
    await other.getByRole('button', { name: 'Log out' }).click()
    await visit.page.locator('body[data-state=anonymous]').waitFor()
    await other.locator('body[data-state=anonymous]').waitFor()
  })
})

it('an admin sees and ships all orders; the user sees it at once', async () => {
  const visit = await shopping(user)
  await visit.page.getByRole('button', { name: 'Order portcullis' }).click()
  await until(async () => (await textOf(visit, '#orders')).includes('open'), 'the order')
  const id = /^\d+/.exec(await textOf(visit, '#orders'))![0]
  const admin = await shopping(await newUserWithRoles(gateway, ['admin']))
  await admin.page.getByRole('button', { name: `Ship order ${id}`, exact: true }).click()
  await until(async () => (await textOf(visit, '#orders')).includes('shipped'), 'the news')
  expect(admin.complaints).toEqual([])
})

describe('the page', () => {
  it.each([
    ['light', {}],
    ['dark', { isDark: true }],
    ['at 320 px', { isNarrow: true }],
  ])('has nothing that axe finds, and no sideways scrolling, %s', async (_name, options) => {
    const visit = await keep(gateway.visit(options))
    await openShop(visit, 'anonymous')
    expect(await visit.violations()).toEqual([])
    await visit.logIn(await newUserWithRoles(gateway, ['admin']))
    await openShop(visit, 'user')
    await visit.page.getByRole('button', { name: 'Order drawbridge' }).click()
    await until(async () => (await textOf(visit, '#all-orders')).includes('drawbridge'), 'the order')
    expect(await visit.violations()).toEqual([])
    expect(await scrollsSideways(visit.page)).toBe(false)
  })

  it('without JavaScript leads to the login', async () => {
    const visit = await keep(gateway.visit({ hasJavaScript: false }))
    await visit.page.goto(`${gateway.origin}/shop/`)
    expect(await visit.text()).toContain('This shop needs JavaScript.')
    await visit.page.getByRole('link', { name: 'login' }).click()
    expect(new URL(visit.page.url()).pathname).toBe('/auth/ui/login')
  })
})
