import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { type Browser, startBrowser, watch } from '../support/browser.ts'
import { useGateway } from '../support/fixtures.ts'

// a browser takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const OTHER_NAME = 'gateway.test'
const gateway = useGateway({ config: { docs: { enabled: true } } })
let browser: Browser
beforeAll(async () => {
  browser = await startBrowser([OTHER_NAME])
})
afterAll(() => browser?.close())

it.each([
  '127.0.0.1',
  'localhost',
  'portcullis.localhost',
  OTHER_NAME,
])('the docs page shows every operation over plain http as %s, without an error', async (host) => {
  const page = await browser.context.newPage()
  const { complaints } = watch(page)
  const document = (await (await fetch(`${gateway.url}/auth/openapi.json`)).json()) as { paths: Record<string, object> }
  const operations = Object.values(document.paths).reduce((sum, methods) => sum + Object.keys(methods).length, 0)
  await page.goto(`http://${host}:${gateway.port}/auth/docs`)
  await page.locator('.opblock').first().waitFor()
  expect(await page.locator('.opblock').count()).toBe(operations)
  expect(operations).toBeGreaterThan(30)
  await page.locator('.opblock-summary').first().click()
  await page.locator('.opblock-body').first().waitFor()
  expect(complaints).toEqual([])
  await page.close()
})
