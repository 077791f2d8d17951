import { describe, expect, it, vi } from 'vitest'
import { type BrowserGateway, useBrowserGateway, type VisitOptions } from '../support/browser-gateway.ts'
import { newUser } from '../support/client.ts'
import { useUpstream } from '../support/fixtures.ts'
import { codeOf, newFactorUser } from '../support/totp.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const upstream = useUpstream()
const options = () => ({
  routes: [{ name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' }],
})
const plain = useBrowserGateway(options)
const secure = useBrowserGateway(() => ({ ...options(), isSecure: true }))

const WAYS: [string, () => BrowserGateway, VisitOptions][] = [
  ['over http on loopback', () => plain, {}],
  ['over http on loopback, without JavaScript', () => plain, { hasJavaScript: false }],
  ['over TLS', () => secure, {}],
  ['over TLS, without JavaScript', () => secure, { hasJavaScript: false }],
]

describe.each(WAYS)('%s', (_where, gatewayOf, visitOptions) => {
  it('a user logs in, goes on to where they wanted, and logs out', async () => {
    const gateway = gatewayOf()
    const user = await newUser(gateway)
    const visit = await gateway.visit(visitOptions)
    const { page, context } = visit
    await visit.open(`${gateway.origin}/api/orders?a=1`)
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
    await page.fill('[name=login]', user.username)
    await page.fill('[name=password]', 'wrong horse battery')
    await page.click('main form button')
    expect(await visit.text()).toContain('The login or the password is wrong.')
    expect(await page.inputValue('[name=login]')).toBe(user.username)
    expect(await page.inputValue('[name=password]')).toBe('')

    await page.fill('[name=password]', user.password)
    await page.click('main form button')
    await page.waitForURL(`${gateway.origin}/api/orders?a=1`)
    expect((await page.reload())!.status()).toBe(200)
    const cookie = (await context.cookies()).find(({ name }) => name === (gateway === secure ? '__Host-portcullis' : 'portcullis-dev'))
    expect(cookie).toMatchObject({ httpOnly: true, secure: gateway === secure, sameSite: 'Lax', path: '/', expires: -1 })

    await visit.open('/logout')
    await page.click('main form button')
    await page.waitForURL((url) => url.search === '?done=logout')
    expect(await visit.text()).toContain('You are logged out.')
    expect((await context.cookies()).filter(({ name }) => name === cookie!.name)).toEqual([])
    // another page: the same demand twice in a minute shows a page in place of a redirect
    await visit.open(`${gateway.origin}/api/carts`)
    expect(new URL(page.url()).pathname).toBe('/auth/ui/login')
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('a user with a second factor enters a code, or a backup code', async () => {
    const gateway = gatewayOf()
    const user = await newFactorUser(gateway)
    const visit = await gateway.visit(visitOptions)
    const { page, context } = visit
    const begin = async () => {
      await visit.open('/login?return_to=%2Fapi')
      await page.fill('[name=login]', user.username)
      await page.fill('[name=password]', user.password)
      await page.check('[name=remember]')
      await page.click('main form button')
      await page.waitForURL((url) => url.pathname === '/auth/ui/factor')
    }
    await begin()
    await page.reload()
    await page.fill('[name=code]', '000000')
    await page.click('main form button')
    expect(await visit.text()).toContain('The code is wrong')
    await page.fill('[name=code]', codeOf(user.secret))
    await page.click('main form button')
    await page.waitForURL(`${gateway.origin}/api`)
    expect((await context.cookies()).find(({ name }) => /^(?:__Host-portcullis|portcullis-dev)$/.test(name))!.expires).toBeGreaterThan(0)

    await context.clearCookies()
    await begin()
    await page.click('text=Use a backup code')
    await page.fill('[name=code]', user.backupCodes[0]!)
    await page.click('main form button')
    await page.waitForURL(`${gateway.origin}/api`)
    expect(visit.complaints).toEqual([])
    await visit.close()
  })

  it('a new user registers, and is logged in', async () => {
    const gateway = gatewayOf()
    const other = await newUser(gateway)
    const visit = await gateway.visit(visitOptions)
    const { page } = visit
    await visit.open('/login?return_to=%2Fapi')
    await page.click('text=Create an account')
    await page.fill('[name=email]', `new-${other.email}`)
    await page.fill('[name=username]', other.username)
    await page.fill('[name=password]', 'quiet umbrella forty two')
    await page.click('main form button')
    expect(await page.locator('#username-error').innerText()).toBe('Username is taken.')
    expect(await page.inputValue('[name=email]')).toBe(`new-${other.email}`)
    await page.fill('[name=username]', `${other.username}n`)
    await page.fill('[name=password]', 'quiet umbrella forty two')
    await page.click('main form button')
    await page.waitForURL(`${gateway.origin}/api`)
    expect(visit.complaints).toEqual([])
    await visit.close()
  })
})
