/** What `check` says about providers and their client secrets. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, type Loaded, loadConfig } from '../../../src/app/load-config.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-providers-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Json = Record<string, unknown>

let written = 0
function fileWith(content: string): string {
  const file = join(dir, `${written++}.json`)
  writeFileSync(file, content)
  return file
}

const ACME = { id: 'acme', kind: 'oidc', issuer: 'https://login.example.com', clientId: 'gateway', clientSecretEnv: 'ACME_SECRET' }
const GITHUB = { id: 'github', kind: 'github', clientId: 'Iv1.1', clientSecretEnv: 'GITHUB_SECRET' }
const APPLE = { id: 'apple', kind: 'apple', clientId: 'com.example.web' }
const KEY = { teamId: 'TEAM', keyId: 'KEY', keyFile: fileWith('key') }

const load = (providers: Json[], { auth = {}, server = {}, env = {}, needSecrets = false }: Json = {}): Loaded =>
  loadConfig({
    file: fileWith(
      JSON.stringify({
        server: { publicUrl: 'https://api.example.com', ...(server as Json) },
        auth: { browser: { enabled: true }, providers, ...(auth as Json) },
        routes: [{ name: 'shop', match: { path: '/shop' }, upstream: ['http://127.0.0.1:9'], access: 'authenticated' }],
      }),
    ),
    env: env as Record<string, string>,
    needSecrets: needSecrets as boolean,
  })

const short = ({ path, message }: { path: string; message: string }) => `${path}: ${message}`

function problems(...given: Parameters<typeof load>): string[] {
  try {
    load(...given)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(short)
  }
}

test('a provider of each kind has nothing to report', () => {
  expect(problems([ACME, GITHUB, { ...APPLE, clientSecretJwt: KEY }])).toEqual([])
  expect(load([ACME, GITHUB]).warnings).toEqual([])
  for (const issuer of ['http://localhost:9000', 'http://127.0.0.1/realms/x', 'http://[::1]:1'])
    expect(problems([{ ...ACME, issuer }])).toEqual([])
})

describe('a provider', () => {
  test.each<[what: string, provider: Json, problem: string]>([
    ['without an issuer', { ...ACME, issuer: undefined }, 'auth.providers[0]: issuer is missing'],
    [
      'whose issuer is plain http on another machine',
      { ...ACME, issuer: 'http://login.example.com' },
      'auth.providers[0].issuer: must begin with https://',
    ],
    [
      'whose issuer looks like this machine',
      { ...ACME, issuer: 'http://localhost.example.com' },
      'auth.providers[0].issuer: must begin with https://',
    ],
    [
      'without openid',
      { ...ACME, scopes: ['email'] },
      'auth.providers[0].scopes: must include openid: without it the provider sends no ID token',
    ],
    ['without a secret', { ...ACME, clientSecretEnv: undefined }, 'auth.providers[0]: clientSecretEnv is missing'],
    ['with the secret of Apple', { ...ACME, clientSecretJwt: KEY }, 'auth.providers[0].clientSecretJwt: is for apple'],
    [
      'with two secrets',
      { ...APPLE, clientSecretEnv: 'APPLE_SECRET', clientSecretJwt: KEY },
      'auth.providers[0]: has both clientSecretEnv and clientSecretJwt',
    ],
    [
      'that is trusted for every address',
      { ...ACME, trustEmail: true },
      'auth.providers[0].trustEmail: needs allowedDomains: a person with an address at this provider gets the account with this address',
    ],
    [
      'with roles of GitHub',
      { ...GITHUB, roles: { claim: 'groups', map: { staff: ['user'] } } },
      'auth.providers[0].roles: has no effect: GitHub sends no claims',
    ],
    [
      'with a role that nobody defined',
      { ...ACME, roles: { claim: 'groups', map: { staff: ['captain'] } } },
      'auth.providers[0].roles.map.staff[0]: captain is not defined',
    ],
  ])('%s', (_, provider, problem) => {
    expect(problems([provider])).toEqual([problem])
  })

  test.each<[what: string, provider: Json, field: string]>([
    ['an id with a slash', { ...ACME, id: 'a/b' }, 'auth.providers[0].id'],
    ['a kind that nobody knows', { ...ACME, kind: 'saml' }, 'auth.providers[0].kind'],
    ['a domain with @', { ...ACME, allowedDomains: ['@example.com'] }, 'auth.providers[0].allowedDomains[0]'],
    ['a secret in the file', { ...ACME, clientSecret: 'swordfish' }, 'auth.providers[0].clientSecret'],
    ['a variable of the gateway', { ...ACME, clientSecretEnv: 'PORTCULLIS_SECRET_KEY' }, 'auth.providers[0].clientSecretEnv'],
    ['an issuer with a query', { ...ACME, issuer: 'https://login.example.com?x=1' }, 'auth.providers[0].issuer'],
  ])('with %s names the field', (_, provider, field) => {
    expect(problems([provider]).map((problem) => problem.slice(0, field.length))).toEqual([field])
  })

  test('needs an id of its own', () => {
    expect(problems([ACME, { ...GITHUB, id: 'acme' }])).toEqual(['auth.providers[1].id: acme is used twice'])
  })

  test('needs browsers, and an address that providers accept', () => {
    expect(problems([ACME], { auth: { browser: { enabled: false } } })).toEqual([
      'auth.providers: needs auth.browser.enabled: the browser brings users back with a cookie',
    ])
    const warned = load([ACME], { server: { publicUrl: 'http://api.example.com' } }).warnings.map(short)
    expect(warned).toContain('server.publicUrl: is not https: providers send users back only to https addresses, except on this machine')
  })

  test('whose file is missing is reported by its name', () => {
    const { absentFiles } = load([
      { ...APPLE, clientSecretJwt: { ...KEY, keyFile: '/nowhere/key.p8' } },
      { ...ACME, caFile: '/nowhere/ca.pem' },
    ])
    expect(absentFiles.map(({ path }) => path)).toEqual(['auth.providers[0].clientSecretJwt.keyFile', 'auth.providers[1].caFile'])
  })
})

describe('a client secret', () => {
  const SECRET_KEY = randomBytes(32).toString('base64')
  const secretsOf = (env: Json) =>
    load([ACME], { env: { PORTCULLIS_SECRET_KEY: SECRET_KEY, ...env }, needSecrets: true }).secrets!.providers

  test('comes from the variable, or from the file that it names', () => {
    expect(secretsOf({ ACME_SECRET: 'from the variable' })).toEqual({ acme: 'from the variable' })
    expect(secretsOf({ ACME_SECRET_FILE: fileWith('from the file\n') })).toEqual({ acme: 'from the file' })
  })

  test.each<[what: string, env: Json, message: RegExp]>([
    ['that is missing', {}, /^auth\.providers\[0\]\.clientSecretEnv: the environment variable ACME_SECRET is not set$/],
    ['that is empty', { ACME_SECRET: '' }, /ACME_SECRET is not set$/],
    ['whose file is missing', { ACME_SECRET_FILE: '/nowhere/secret' }, /the file of ACME_SECRET_FILE cannot be read/],
  ])('%s is reported', (_, env, message) => {
    expect(problems([ACME], { env: { PORTCULLIS_SECRET_KEY: SECRET_KEY, ...env }, needSecrets: true })).toEqual([
      expect.stringMatching(message),
    ])
  })
})
