/** The Chromium of this machine, without a window. Nothing is downloaded. */
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type BrowserContext, type Browser as Chromium, chromium, type Page } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']

/** @throws with what to install when there is no browser on PATH */
export function findBrowser(path = process.env.PATH ?? ''): string {
  for (const folder of path.split(delimiter))
    for (const name of NAMES) {
      try {
        accessSync(join(folder, name), constants.X_OK)
        return join(folder, name)
      } catch {
        // not here
      }
    }
  throw new Error(`None of ${NAMES.join(', ')} is on PATH. On Debian: apt-get install chromium`)
}

export interface Browser {
  context: BrowserContext
  close(): Promise<void>
}

/** @param hosts names that the browser looks up as 127.0.0.1 */
function launchOptions(hosts: readonly string[]) {
  const rules = [
    ...hosts.map((host) => `MAP ${host} 127.0.0.1`),
    'MAP * ~NOTFOUND',
    'EXCLUDE 127.0.0.1',
    'EXCLUDE localhost',
    'EXCLUDE *.localhost',
  ]
  return {
    executablePath: findBrowser(),
    headless: true,
    chromiumSandbox: process.getuid?.() !== 0,
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=${rules.join(',')}`,
    ],
    // users have this cache, and it must not show private pages after a logout
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  }
}

/** A Chromium for contexts of many kinds, each with a fresh profile. @param hosts names that the browser looks up as 127.0.0.1 */
export const launchChromium = (hosts: readonly string[] = []): Promise<Chromium> => chromium.launch(launchOptions(hosts))

/** @param hosts names that the browser looks up as 127.0.0.1 */
export async function startBrowser(hosts: string[] = []): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'portcullis-browser-'))
  const context = await chromium.launchPersistentContext(profile, launchOptions(hosts))
  return {
    context,
    async close() {
      await context.close()
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** What a page complains about: console errors and warnings, uncaught errors, requests that failed or left the gateway. */
export function watch(page: Page): { complaints: string[] } {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`)
  })
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`))
  page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`))
  page.on('response', (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`)
  })
  return { complaints }
}
