/** A gateway with pages for browsers, and visits by a real Chromium. Each visit has a fresh profile. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import tls from 'node:tls'
import type { BrowserContext, BrowserContextOptions, Browser as Chromium, Page } from 'playwright-core'
import { afterAll, beforeAll } from 'vitest'
import { launchChromium } from './browser.ts'
import { createAuthority } from './certificates.ts'
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts'
import { mailsTo } from './mails.ts'
import { until } from './processes.ts'

/** The name of the gateway over TLS. The browser looks it up as 127.0.0.1, as every name of this domain. */
const SECURE_HOST = 'gateway.test'

export interface VisitOptions extends BrowserContextOptions {
  /** Default: 1280 × 800. */
  isNarrow?: boolean
  isDark?: boolean
  isGerman?: boolean
  hasJavaScript?: boolean
}

/** A browser with a profile of its own, and its first tab. */
export interface Visit {
  context: BrowserContext
  page: Page
  /** What the pages complain about: console errors and warnings, uncaught errors, failed requests, requests to other origins. */
  complaints: string[]
  /** Opens a page below `/auth/ui`, such as `/login`; or a whole URL. */
  open(path: string): Promise<void>
  /** Logs in on the login page. */
  logIn(user: { username: string; password: string }): Promise<void>
  /** The text of the page's main part. */
  text(): Promise<string>
  /** What axe-core finds: `rule: element`. */
  violations(): Promise<string[]>
  close(): Promise<void>
}

export interface BrowserGateway extends Gateway {
  /** The origin for browsers: `http://localhost:…`, or `https://gateway.test:…`. */
  origin: string
  visit(options?: VisitOptions): Promise<Visit>
  /** Waits for a mail of this template. @returns the link of the newest, with this gateway's origin */
  mailedLink(address: string, template: MailTemplate): Promise<string>
}

export interface BrowserGatewayOptions extends GatewayOptions {
  /** With a certificate of the test's own. The session cookie then has the prefix `__Host-`. */
  isSecure?: boolean
}

type MailTemplate = 'verify_email' | 'reset_password' | 'confirm_login' | 'email_login' | 'invitation'

type Json = { [key: string]: any }

/** For the whole file or `describe`. @param options a function where they depend on what is started before */
export function useBrowserGateway(options: BrowserGatewayOptions | (() => BrowserGatewayOptions) = {}): BrowserGateway {
  const made = {} as BrowserGateway
  let close = async () => {}
  beforeAll(async () => {
    const started = await startBrowserGateway(typeof options === 'function' ? options() : options)
    close = () => started.close()
    Object.assign(made, started)
  }, 120_000)
  afterAll(() => close(), 60_000)
  return made
}

async function startBrowserGateway({ isSecure = false, ...options }: BrowserGatewayOptions = {}): Promise<BrowserGateway> {
  const authority = isSecure ? await createAuthority() : null
  const issued = await authority?.issue([SECURE_HOST])
  const { auth = {}, server = {}, ...rest } = (options.config ?? {}) as Json
  const config: Json = {
    ...rest,
    auth: { ...auth, browser: { enabled: true, ...auth.browser } },
    server: {
      ...server,
      ...(issued && { publicUrl: `https://${SECURE_HOST}`, tls: { cert: issued.certFile, key: issued.keyFile } }),
    },
  }
  const [gateway, chromium] = await Promise.all([
    startGateway({ ...options, config }),
    launchChromium([SECURE_HOST, `*.${SECURE_HOST}`, 'evil.test']),
  ])
  // `call()` and other clients of this process reach the gateway, too
  const authorities = tls.getCACertificates('default')
  if (authority) tls.setDefaultCACertificates([...authorities, authority.cert])
  const origin = isSecure ? `https://${SECURE_HOST}:${gateway.port}` : `http://localhost:${gateway.port}`
  return {
    ...gateway,
    origin,
    visit: (visitOptions) => startVisit(chromium, origin, visitOptions),
    async mailedLink(address, template) {
      const newest = await until(
        async () => (await mailsTo(gateway, address)).filter((mail) => mail.template === template).at(-1),
        `a mail to ${address}`,
      )
      const { pathname, search, hash } = new URL(newest.data.url)
      return origin + pathname + search + hash
    },
    async close() {
      await chromium.close()
      await gateway.close()
      if (authority) tls.setDefaultCACertificates(authorities)
      authority?.close()
    },
  }
}

async function startVisit(chromium: Chromium, origin: string, options: VisitOptions = {}): Promise<Visit> {
  const { isNarrow = false, isDark = false, isGerman = false, hasJavaScript = true, ...more } = options
  const context = await chromium.newContext({
    viewport: isNarrow ? { width: 320, height: 640 } : { width: 1280, height: 800 },
    colorScheme: isDark ? 'dark' : 'light',
    locale: isGerman ? 'de-DE' : 'en-GB',
    javaScriptEnabled: hasJavaScript,
    ignoreHTTPSErrors: true, // the authority is the test's own
    ...more,
  })
  const complaints: string[] = []
  context.on('page', (page) => listen(page, origin, complaints))
  const page = await context.newPage()
  const open = async (path: string) => void (await page.goto(path.startsWith('http') ? path : `${origin}/auth/ui${path}`))
  return {
    context,
    page,
    complaints,
    open,
    async logIn({ username, password }) {
      await open('/login')
      await page.fill('[name=login]', username)
      await page.fill('[name=password]', password)
      await Promise.all([page.waitForURL((url) => !url.pathname.endsWith('/ui/login')), page.click('main form button')])
    },
    text: () => page.locator('main').innerText(),
    violations: () => violationsOf(page),
    close: () => context.close(),
  }
}

/** The status of a page itself is no complaint: tests look at it. */
function listen(page: Page, origin: string, complaints: string[]): void {
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return
    const { url } = message.location()
    const isOwnStatus = message.text().startsWith('Failed to load resource') && url === page.url()
    // pages of an upstream need no icon
    const isIconOfUpstream = url === `${origin}/favicon.ico` && !page.url().includes('/auth/ui')
    if (!isOwnStatus && !isIconOfUpstream) complaints.push(`console: ${message.text()}`)
  })
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`))
  page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`))
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:')) complaints.push(`elsewhere: ${request.url()}`)
  })
  page.on('response', (response) => {
    if (response.status() >= 400 && !response.request().isNavigationRequest()) complaints.push(`${response.status()}: ${response.url()}`)
  })
}

let axe: string | undefined

/** Needs JavaScript. */
async function violationsOf(page: Page): Promise<string[]> {
  axe ??= readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  await page.evaluate(axe)
  const found = await page.evaluate('axe.run({ resultTypes: ["violations"] })')
  return (found as { violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }).violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary?.replaceAll('\n', ' ')}`),
  )
}

/** Whether something of the page is wider than the window. */
export const scrollsSideways = (page: Page): Promise<boolean> =>
  page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')
