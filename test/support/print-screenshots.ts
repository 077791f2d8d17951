/**
 * Takes the pictures of docs/images: `npm run screenshots`. It starts the demo in a folder of its own, puts some orders into it, and visits
 * its pages with the Chromium of this machine.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { launchChromium } from './browser.ts'
import { call } from './client.ts'
import { bare, freePort, start, until } from './processes.ts'
import { addAuthenticator } from './virtual-authenticator.ts'

const IMAGES = resolve('docs/images')
const MAX_BYTES = 60_000
const ANN = { username: 'ann', email: 'ann@example.com', password: 'correct horse battery' }

interface Picture {
  name: string
  path: string
  /** Default: nobody is logged in. */
  as?: 'user' | 'admin'
  isDark?: boolean
  /** Default: 1000. */
  width?: number
  height: number
  /** Waits for what scripts show. */
  ready?: (page: Page) => Promise<unknown>
}

/** An order and a message, so that the feed and the chat are not empty. */
async function shop(page: Page): Promise<void> {
  await page.locator('body[data-state=user]').waitFor()
  await page.locator('#chat').getByText('hello').waitFor()
  await page.fill('#text', 'Is the moat deep?')
  await page.click('#say button')
  await page.locator('#chat').getByText('echo').waitFor()
  await page.getByRole('button', { name: 'Order moat' }).click()
  await page.locator('#feed').getByText('moat').first().waitFor()
  await page.locator('#orders').getByText('moat').first().waitFor()
  await page.mouse.move(0, 0)
}

/** Two passkeys: of a phone, and of a key ring. */
async function passkeys(page: Page): Promise<void> {
  const path = '/auth/ui/account/passkeys'
  for (const name of ['Phone', 'Key ring']) {
    const device = await addAuthenticator(page, { isSynced: name === 'Phone' })
    await page.click('main form button:has-text("Add a passkey")')
    await Promise.all([page.waitForURL(/done=/), page.click('text=Make the passkey')])
    await page.goto(new URL(path, page.url()).href)
    await page.locator('summary:has-text("Rename")').last().click()
    await page.locator('[name=name]').last().fill(name)
    await Promise.all([page.waitForURL(/done=renamed/), page.locator('text=Save the name').last().click()])
    await device.remove()
    await page.goto(new URL(path, page.url()).href)
  }
}

/** A rate needs two samples. */
const samples = (page: Page) =>
  until(
    async () => {
      await page.reload()
      return /\d\/s/.test(await page.innerText('main'))
    },
    'two samples of the health',
    60_000,
  )

const PICTURES: Picture[] = [
  { name: 'shop', path: '/shop/', as: 'user', height: 1010, ready: shop },
  { name: 'shop-dark', path: '/shop/', as: 'user', isDark: true, height: 1010, ready: shop },
  { name: 'login', path: '/auth/ui/login?return_to=/shop/', height: 640 },
  { name: 'console-users', path: '/console/users', as: 'admin', height: 560 },
  { name: 'console-health', path: '/console/health', as: 'admin', width: 1120, height: 600, ready: samples },
  { name: 'account', path: '/auth/ui/account', as: 'user', height: 640 },
  // last: from then on every login of this user asks for a second step
  { name: 'passkeys', path: '/auth/ui/account/passkeys', as: 'user', height: 640, ready: passkeys },
]

async function logIn(page: Page, url: string, login: string, password: string): Promise<void> {
  await page.goto(url)
  await page.fill('[name=login]', login)
  await page.fill('[name=password]', password)
  await Promise.all([page.waitForURL((next) => !next.pathname.endsWith('/login')), page.click('main form button')])
}

const dir = mkdtempSync(join(tmpdir(), 'portcullis-screenshots-'))
const [port, adminPort] = [await freePort(), await freePort()]
const settings = [
  `database.dataDir=${join(dir, 'data')}`,
  `server.port=${port}`,
  `admin.port=${adminPort}`,
  `server.publicUrl=http://localhost:${port}`,
  'auth.passkeys.enabled=true',
].flatMap((s) => ['--set', s])
const demo = start(process.execPath, [resolve('src/cli.ts'), 'demo', ...settings], { env: { ...bare(), HOME: dir } })
try {
  const introduction = await until(
    () => demo.output().includes('Ctrl-C stops the demo') && demo.output(),
    'the introduction of the demo',
    60_000,
  )
  const admin = /an admin +(\S+) +password (\S+)/.exec(introduction)!.slice(1) as [string, string]
  const gateway = { url: `http://localhost:${port}` }
  const origins = { user: gateway.url, admin: `http://localhost:${adminPort}` }

  const { access_token: token } = (await call(gateway, '/auth/register', { body: ANN })).body
  for (const item of ['drawbridge', 'portcullis']) await call(gateway, '/shop/orders', { body: { item }, token })
  const { access_token: adminToken } = (await call(gateway, '/auth/login', { body: { login: admin[0], password: admin[1] } })).body
  await call(gateway, '/shop/admin/orders/2/ship', { method: 'POST', token: adminToken })
  for (const username of ['bob', 'carla', 'dora'])
    await call(gateway, '/auth/register', { body: { ...ANN, username, email: `${username}@example.com` } })

  mkdirSync(IMAGES, { recursive: true })
  const chromium = await launchChromium()
  try {
    const open = async (isDark: boolean): Promise<BrowserContext> =>
      chromium.newContext({ colorScheme: isDark ? 'dark' : 'light', locale: 'en-GB', deviceScaleFactor: 0.8 })
    for (const { name, path, as, isDark = false, width = 1000, height, ready } of PICTURES) {
      const context = await open(isDark)
      const page = await context.newPage()
      await page.setViewportSize({ width, height })
      if (as === 'user') await logIn(page, `${origins.user}/auth/ui/login`, ANN.username, ANN.password)
      if (as === 'admin') await logIn(page, `${origins.admin}/console/login`, ...admin)
      const answer = await page.goto(origins[as ?? 'user'] + path)
      if (!answer?.ok()) throw new Error(`${path} answered ${answer?.status()}`)
      await ready?.(page)
      const file = join(IMAGES, `${name}.png`)
      await page.screenshot({ path: file, animations: 'disabled' })
      const { size } = statSync(file)
      console.log(`${file} ${size} bytes`)
      if (size > MAX_BYTES) throw new Error(`${file} has more than ${MAX_BYTES} bytes`)
      await context.close()
    }
  } finally {
    await chromium.close()
  }
} finally {
  await demo.stop()
  rmSync(dir, { recursive: true, force: true })
}
