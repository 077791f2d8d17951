/** Passkeys in a real browser, with its own virtual authenticators. */
import { describe, expect, it, vi } from 'vitest'
import { type BrowserGateway, useBrowserGateway, type Visit } from '../support/browser-gateway.ts'
import { newUser, type TestUser } from '../support/client.ts'
import { freePort, until } from '../support/processes.ts'
import { rows } from '../support/rows.ts'
import { addAuthenticator, type VirtualAuthenticator, type VirtualOptions } from '../support/virtual-authenticator.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const port = await freePort()
const gateway: BrowserGateway = useBrowserGateway(() => ({
  port,
  config: {
    server: { publicUrl: `http://localhost:${port}` },
    auth: { passkeys: { enabled: true, rpName: 'Example' } },
  },
}))

const own = ({ complaints }: Visit) => complaints.filter((text) => !/status of (?:401|409)/.test(text))

/** A logged-in visit, with the first passkey of its user. @returns the backup codes, too */
async function withPasskey(
  options: VirtualOptions = {},
): Promise<{ visit: Visit; user: TestUser; device: VirtualAuthenticator; codes: string[] }> {
  const user = await newUser(gateway)
  const visit = await gateway.visit()
  const device = await addAuthenticator(visit.page, options)
  await visit.logIn(user)
  await visit.open('/account/passkeys')
  await visit.page.click('main form button:has-text("Add a passkey")')
  await visit.page.click('text=Make the passkey')
  await visit.page.waitForURL((url) => url.pathname === '/auth/ui/account/factors')
  const codes = await visit.page.locator('#codes code').allInnerTexts()
  return { visit, user, device, codes }
}

const stateOf = async ({ id }: TestUser) =>
  await rows(gateway, 'SELECT is_backup_eligible, is_backed_up, sign_count::int, name FROM passkeys WHERE user_id = $1 ORDER BY id', [id])
const amrOf = async ({ id }: TestUser) =>
  (await rows(gateway, 'SELECT amr FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT 1', [id]))[0].amr

/** As if the user had logged in an hour ago. The gateway reads the session again, as after a change of the user. */
async function age({ id }: TestUser): Promise<void> {
  for (const table of ['sessions', 'session_cookies']) await rows(gateway, `UPDATE ${table} SET auth_time = auth_time - interval '1 hour'`)
  const raised = 'UPDATE users SET token_epoch = token_epoch + 1 WHERE id = $1 RETURNING token_epoch'
  const [{ token_epoch: minEpoch }] = await rows(gateway, raised, [id])
  await gateway.app.identity.revocations.announce({ userId: id, minEpoch, until: gateway.clock.now() + 3_600_000 })
}

async function logOut({ page }: Visit): Promise<void> {
  await page.click('header button')
  await page.waitForURL((url) => url.pathname === '/auth/ui/login')
}

describe.each<[string, VirtualOptions]>([
  ['CTAP 2.0', { protocol: 'ctap2_0' }],
  ['CTAP 2.1', { protocol: 'ctap2_1' }],
  ['a security key', { transport: 'usb' }],
  ['a key that is copied', { isSynced: true }],
])('%s', (_kind, options) => {
  it('a user adds a passkey, logs out, and logs in with it', async () => {
    const { visit, user, device, codes } = await withPasskey(options)
    const { page } = visit
    expect(codes).toHaveLength(10)
    expect(await device.credentials()).toMatchObject([{ isResidentCredential: true }])
    const { isSynced = false } = options
    expect(await stateOf(user)).toMatchObject([{ is_backup_eligible: isSynced, is_backed_up: isSynced }])
    // the suggestion at the field would log in at once
    await device.set({ isPresent: false })
    await logOut(visit)
    await page.waitForSelector('form[data-passkey]:not([hidden])')
    await device.set({ isPresent: true })
    await page.click('text=Log in with a passkey')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(await amrOf(user)).toEqual([isSynced ? 'swk' : 'hwk', 'user', 'mfa'])
    expect(own(visit)).toEqual([])
    await visit.close()
  })
})

describe('the login page', () => {
  it('lets the browser offer passkeys at the field of the name', async () => {
    const { visit, user } = await withPasskey()
    const { page } = visit
    await logOut(visit)
    // the virtual authenticator takes the suggestion
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(await visit.text()).toContain(user.username)
    await visit.close()
  })

  it('keeps a login where "stay logged in" is chosen, and leads on', async () => {
    const { visit, device } = await withPasskey()
    const { page } = visit
    await device.set({ isPresent: false })
    await logOut(visit)
    await visit.open('/login?return_to=%2Fauth%2Fui%2Faccount%2Fsessions')
    await page.check('[name=remember]')
    await device.set({ isPresent: true })
    await page.click('text=Log in with a passkey')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/sessions')
    const cookie = (await visit.context.cookies()).find(({ name }) => name === 'portcullis-dev')
    expect(cookie!.expires).toBeGreaterThan(Date.now() / 1000 + 86_400)
    await visit.close()
  })

  it('says what to do when the device gives no passkey', async () => {
    const visit = await gateway.visit()
    const { page } = visit
    await addAuthenticator(page, { hasUserVerification: false, isUserVerified: false })
    await visit.open('/login')
    await page.click('text=Log in with a passkey')
    await page.waitForSelector('form[data-passkey] [role=alert]:not([hidden])')
    expect(await visit.text()).toContain('The device did not give a passkey.')
    expect(await visit.violations()).toEqual([])
    await visit.close()
  })

  it('says so when a passkey was removed', async () => {
    const { visit, user, device } = await withPasskey()
    const { page } = visit
    await rows(gateway, 'DELETE FROM passkeys WHERE user_id = $1', [user.id])
    await device.set({ isPresent: false })
    await logOut(visit)
    await device.set({ isPresent: true })
    await page.click('text=Log in with a passkey')
    await page.waitForSelector('main > .notice.bad')
    expect(await visit.text()).toContain('The passkey was not accepted.')
    await visit.close()
  })

  it('has no passkeys without JavaScript, and every other way works', async () => {
    const user = await newUser(gateway)
    const visit = await gateway.visit({ hasJavaScript: false })
    await visit.open('/login')
    expect(await visit.page.isVisible('text=Log in with a passkey')).toBe(false)
    await visit.logIn(user)
    await visit.open('/account/passkeys')
    expect(await visit.text()).toContain('Passkeys need JavaScript.')
    await visit.close()
  })

  it('does not offer passkeys on a host that they do not belong to', async () => {
    const visit = await gateway.visit()
    await visit.open(`http://127.0.0.1:${port}/auth/ui/login`)
    expect(await visit.page.locator('form[data-passkey]').count()).toBe(0)
    await visit.close()
  })
})

describe('the second step', () => {
  it('takes the passkey after the password, or a backup code', async () => {
    const { visit, user, device, codes } = await withPasskey()
    const { page } = visit
    for (const way of ['passkey', 'code']) {
      await device.set({ isPresent: false })
      await logOut(visit)
      await page.fill('[name=login]', user.username)
      await page.fill('[name=password]', user.password)
      await page.click('button:has-text("Log in"):not(.quiet)')
      await page.waitForURL((url) => url.pathname === '/auth/ui/factor')
      await device.set({ isPresent: true })
      if (way === 'passkey') await page.click('text=Use your passkey')
      else {
        await page.fill('[name=code]', codes[0]!)
        await page.click('button:has-text("Log in")')
      }
      await page.waitForURL((url) => url.pathname === '/auth/ui/account')
      expect(await amrOf(user)).toEqual(way === 'passkey' ? ['pwd', 'hwk', 'user', 'mfa'] : ['pwd', 'otp', 'mfa'])
    }
    expect(own(visit)).toEqual([])
    await visit.close()
  })
})

describe('the account', () => {
  it('lists, renames and removes passkeys, after a proof by passkey where the login is old', async () => {
    const { visit, user, device } = await withPasskey()
    const { page } = visit
    await visit.open('/account/passkeys')
    await page.click('summary:has-text("Rename")')
    await page.fill('[name=name]', 'Blue key')
    await page.click('text=Save the name')
    await page.waitForURL(/done=renamed/)
    expect(await visit.text()).toContain('Blue key')
    expect(await visit.violations()).toEqual([])

    await age(user)
    await visit.open('/account/passkeys')
    await page.click('summary:has-text("Remove")')
    await page.click('details[open] >> text=Confirm that it is you')
    await page.waitForURL((url) => url.pathname === '/auth/ui/login')
    await page.click('text=Confirm with your passkey')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/passkeys')
    await page.click('summary:has-text("Remove")')
    await page.click('details[open] button.danger')
    await page.waitForURL(/done=removed/)
    expect(await visit.text()).toContain('You have no passkey.')
    // the browser was asked to forget it
    await until(async () => (await device.credentials()).length === 0, 'the browser to forget the passkey')
    expect(await stateOf(user)).toEqual([])
    await visit.close()
  })

  it('keeps two devices', async () => {
    const { visit, user, device } = await withPasskey()
    const { page } = visit
    await device.remove()
    const second = await addAuthenticator(page, { transport: 'usb', isSynced: true })
    await visit.open('/account/passkeys')
    await page.click('main form button:has-text("Add a passkey")')
    await page.click('text=Make the passkey')
    await page.waitForURL(/done=added/)
    expect(await stateOf(user)).toMatchObject([{ is_backup_eligible: false }, { is_backup_eligible: true }])
    await second.set({ isPresent: false })
    await logOut(visit)
    await second.set({ isPresent: true })
    await page.click('text=Log in with a passkey')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account')
    expect(await amrOf(user)).toEqual(['swk', 'user', 'mfa'])
    await visit.close()
  })

  it('makes no passkey on a device that cannot check its user, nor a second one on the same device', async () => {
    const user = await newUser(gateway)
    const visit = await gateway.visit()
    const { page } = visit
    await visit.logIn(user)
    const weak = await addAuthenticator(page, { hasUserVerification: false, isUserVerified: false })
    await visit.open('/account/passkeys')
    await page.click('main form button:has-text("Add a passkey")')
    await page.click('text=Make the passkey')
    await page.waitForSelector('form[data-passkey] [role=alert]:not([hidden])')
    expect(await stateOf(user)).toEqual([])
    await weak.remove()
    await addAuthenticator(page)
    await page.click('text=Make the passkey')
    await page.waitForURL((url) => url.pathname === '/auth/ui/account/factors')
    await visit.open('/account/passkeys')
    await page.click('main form button:has-text("Add a passkey")')
    await page.click('text=Make the passkey')
    await page.waitForSelector('form[data-passkey] [role=alert]:not([hidden])')
    expect(await visit.text()).toContain('This device has a passkey of your account already.')
    expect(await stateOf(user)).toHaveLength(1)
    await visit.close()
  })
})
