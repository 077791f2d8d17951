/** What `check` says about logins by mail without a mail server. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { loadConfig } from '../../../src/app/load-config.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-email-login-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function warningsOf(auth: object, mail: object = {}): string[] {
  const file = join(dir, 'portcullis.json')
  const route = { name: 'shop', match: { path: '/' }, upstream: ['http://127.0.0.1:9'], access: 'authenticated' }
  writeFileSync(file, JSON.stringify({ auth, mail, routes: [route] }))
  const { warnings } = loadConfig({ file, env: {}, needSecrets: false })
  return warnings.filter(({ path }) => path === 'mail.url').map(({ message }) => message)
}

it.each<[object, string]>([
  [{ emailLogin: 'on' }, 'codes and links that log in'],
  [{ emailVerification: 'required' }, 'links that prove an address'],
  [{ emailVerification: 'required', emailLogin: 'on' }, 'links that prove an address, and codes and links that log in'],
])('%j without a mail server writes only files', (auth, what) => {
  expect(warningsOf(auth)).toEqual([`is not set: ${what} are only written to files, in database.dataDir/outbox`])
})

it('a mail server, or no login by mail, is as it should be', () => {
  expect(warningsOf({ emailLogin: 'on' }, { url: 'smtps://mail.example.com' })).toEqual([])
  expect(warningsOf({})).toEqual([])
})
