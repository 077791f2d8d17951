/** What `check` says about `server.tls.acme`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { type ConfigError, loadConfig } from '../../../src/app/load-config.ts'
import { changedSecrets, planReload } from '../../../src/app/reload-plan.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-acme-config-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64')
const ACME = { domains: ['api.example.com'], termsOfServiceAgreed: true }

function load(tls: object, { env = {}, routes = [] }: { env?: NodeJS.ProcessEnv; routes?: object[] } = {}) {
  const file = join(dir, 'config.json')
  writeFileSync(file, JSON.stringify({ server: { publicUrl: 'https://api.example.com', tls }, routes }))
  return loadConfig({ file, env: { PORTCULLIS_SECRET_KEY: KEY, ...env } })
}
function problemsOf(tls: object, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    load(tls, { env })
    return []
  } catch (error) {
    return (error as ConfigError).problems.map(({ path, message }) => `${path}: ${message}`)
  }
}

it('takes the defaults', () => {
  const { config, secrets } = load({ acme: ACME, redirectPort: 80 })
  expect(config.server.tls?.acme).toEqual({ ...ACME, directoryUrl: 'letsencrypt', challenges: ['http-01'] })
  expect(secrets.acmeHmacKey).toBeNull()
})

it.each<[object, string]>([
  [{}, 'server.tls: names no certificate'],
  [{ cert: 'a.pem' }, 'server.tls: cert and key go together'],
  [{ key: 'a.key' }, 'server.tls: cert and key go together'],
  [{ cert: 'a.pem', key: 'a.key', acme: ACME }, 'server.tls: has two sources of the certificate: files and acme'],
  [{ acme: { domains: ['api.example.com'] } }, 'server.tls.acme.termsOfServiceAgreed: must be true'],
  [{ acme: { ...ACME, domains: ['*.example.com'] } }, 'server.tls.acme.domains[0]: a wildcard cannot be proven'],
  [{ acme: { ...ACME, domains: ['a.example.com', '192.0.2.1'] } }, 'server.tls.acme.domains[1]: is an address'],
  [{ acme: { ...ACME, domains: ['a.example.com', 'A.example.com'] } }, 'server.tls.acme.domains[1]: is in the list twice'],
  [{ acme: { ...ACME, domains: [] } }, 'server.tls.acme.domains'],
  [{ acme: { ...ACME, directoryUrl: 'http://ca.example.com/dir' } }, 'server.tls.acme.directoryUrl'],
  [{ acme: { ...ACME, challenges: ['dns-01'] } }, 'server.tls.acme.challenges'],
])('%j is refused: %s', (tls, problem) => {
  expect(problemsOf(tls)).toEqual([expect.stringContaining(problem)])
})

it('the HMAC key comes from the variable that the configuration names, and is never shown', () => {
  const tls = { acme: { ...ACME, eab: { keyId: 'kid-1', hmacKeyEnv: 'ACME_HMAC_KEY' } }, redirectPort: 80 }
  expect(problemsOf(tls)).toEqual([expect.stringContaining('the environment variable ACME_HMAC_KEY is not set')])
  const wrong = problemsOf(tls, { ACME_HMAC_KEY: 'no base64url!' })
  expect(wrong).toEqual([expect.stringContaining('ACME_HMAC_KEY is not base64url')])
  expect(wrong.join()).not.toContain('no base64url!')
  const { config, secrets } = load(tls, { env: { ACME_HMAC_KEY: 'c2VjcmV0LXNlY3JldC1zZWNyZXQ' } })
  expect(secrets.acmeHmacKey).toBe('c2VjcmV0LXNlY3JldC1zZWNyZXQ')
  expect(JSON.stringify(config)).not.toContain('c2VjcmV0')
  expect(changedSecrets(secrets, { ...secrets, acmeHmacKey: 'b3RoZXItb3RoZXItb3RoZXI' })).toEqual(['the HMAC key of server.tls.acme.eab'])
})

it('warns about names that the certificate will not cover, and about http-01 without a plain listener', () => {
  const routes = [{ name: 'shop', match: { path: '/', host: 'shop.example.com' }, upstream: ['http://127.0.0.1:9'], access: 'public' }]
  const warned = (tls: object) => load(tls, { routes }).warnings.map(({ path, message }) => `${path}: ${message}`)
  expect(warned({ acme: ACME })).toEqual([
    expect.stringContaining('server.tls.acme.challenges: http-01 is asked on port 80'),
    'routes[0].match.host: the certificate of server.tls.acme does not cover shop.example.com; it covers api.example.com',
  ])
  expect(warned({ acme: { ...ACME, domains: ['api.example.com', 'shop.example.com'], challenges: ['tls-alpn-01'] } })).toEqual([])
})

it('a reload changes the names, and not where the certificate comes from', () => {
  const { config } = load({ acme: ACME, redirectPort: 80 })
  const more = load({ acme: { ...ACME, domains: ['api.example.com', 'www.example.com'] }, redirectPort: 80 }).config
  expect(planReload(config, more)).toMatchObject({
    needsRestart: [],
    config: { server: { tls: { acme: { domains: more.server.tls!.acme!.domains } } } },
  })
  const files = load({ cert: 'a.pem', key: 'a.key', redirectPort: 80 }).config
  expect(planReload(config, files).needsRestart).toEqual(['server.tls'])
  expect(planReload(config, files).config.server.tls).toEqual(config.server.tls)
})
