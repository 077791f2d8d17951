/** What `check` says about passkeys. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ConfigError, loadConfig } from '../../../src/app/load-config.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-passkeys-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Json = Record<string, unknown>

function findings(publicUrl: string, passkeys: Json): { problems: string[]; warnings: string[] } {
  const file = join(dir, 'portcullis.json')
  writeFileSync(file, JSON.stringify({ server: { publicUrl }, auth: { passkeys: { enabled: true, ...passkeys } } }))
  const short = ({ path, message }: { path: string; message: string }) => `${path}: ${message}`
  try {
    return { problems: [], warnings: loadConfig({ file, env: {}, needSecrets: false }).warnings.map(short) }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { problems: error.problems.map(short), warnings: [] }
  }
}

describe('the name', () => {
  it.each<[string, string, Json, string[]]>([
    ['is the host of the public address', 'https://api.example.com', {}, []],
    ['may be a parent domain', 'https://api.example.com', { rpId: 'example.com', origins: ['https://app.example.com'] }, []],
    ['may be this machine', 'http://localhost:8080', {}, []],
    ['is no IP address', 'http://127.0.0.1:8080', {}, ['server.publicUrl: is an IP address: passkeys belong to host names']],
    ['is no IPv6 address', 'http://[::1]:8080', {}, ['server.publicUrl: is an IP address: passkeys belong to host names']],
    [
      'is no IP address that was given',
      'https://a.example',
      { rpId: '10.0.0.1' },
      ['auth.passkeys.rpId: is an IP address: passkeys belong to host names'],
    ],
    [
      'is shared by all pages',
      'https://api.example.com',
      { origins: ['https://app.example.org', 'https://api.example.com.evil.example'] },
      [
        'auth.passkeys.origins[0]: is not within api.example.com, so its pages cannot use the passkeys',
        'auth.passkeys.origins[1]: is not within api.example.com, so its pages cannot use the passkeys',
      ],
    ],
    [
      'is no sub-domain of the pages, nor the end of another name',
      'https://example.com',
      { rpId: 'api.example.com', origins: ['https://notapi.example.com'] },
      [
        'server.publicUrl: is not within api.example.com, so its pages cannot use the passkeys',
        'auth.passkeys.origins[0]: is not within api.example.com, so its pages cannot use the passkeys',
      ],
    ],
    [
      'needs https',
      'http://api.example.com',
      {},
      ['server.publicUrl: is not https: browsers have passkeys over https alone, except on localhost'],
    ],
  ])('%s', (_what, publicUrl, passkeys, problems) => {
    expect(findings(publicUrl, passkeys).problems).toEqual(problems)
  })

  it('that is no domain is a warning', () => {
    expect(findings('https://gateway', {}).warnings.some((text) => text.includes('gateway is no domain'))).toBe(true)
  })
})

it('what is not enabled is not checked', () => {
  expect(findings('http://127.0.0.1:8080', { enabled: false }).problems).toEqual([])
})
