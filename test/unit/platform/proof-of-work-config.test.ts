/** What `check` says about the proof of work. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { loadConfig } from '../../../src/app/load-config.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-proof-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const route = { name: 'shop', match: { path: '/shop' }, upstream: ['http://127.0.0.1:9'], access: 'authenticated' }
function warnings(proofOfWork: object, limits: object = {}): string[] {
  const file = join(dir, 'config.json')
  writeFileSync(file, JSON.stringify({ auth: { proofOfWork }, limits, routes: [route] }))
  return loadConfig({ file, env: {}, needSecrets: false }).warnings.map(({ path, message }) => `${path}: ${message}`)
}

it('the defaults are sound, and what is off is not judged', () => {
  expect(warnings({ enabled: true })).toEqual([])
  expect(warnings({ enabled: false, cost: 1_000_000, tries: 100_000 })).toEqual([])
})

it.each([
  [{ tries: 8000 }, []],
  [
    { tries: 10_000 },
    ['auth.proofOfWork.tries: a slow phone computes cost × tries = 50000000 rounds for about 25 s, and for twice as long at worst'],
  ],
  [{ cost: 1000, tries: 100 }, ['auth.proofOfWork.tries: cost × tries = 100000 rounds cost a program almost nothing']],
  [{ cost: 300_000, tries: 20 }, ['auth.proofOfWork.cost: is high: the gateway computes as much for each challenge that anybody asks for']],
  [{ loginFailures: 100 }, ['auth.proofOfWork.loginFailures: has no effect: limits.credentials.address refuses logins after 100 failures']],
  [{ loginFailures: 99 }, []],
])('%j', (settings, expected) => {
  expect(warnings({ enabled: true, ...settings })).toEqual(expected)
})

it('the limit of an address in a short window does not stop the count of failures', () => {
  expect(warnings({ enabled: true, loginFailures: 5 }, { credentials: { address: { limit: 5, windowSeconds: 60 } } })).toEqual([])
})
