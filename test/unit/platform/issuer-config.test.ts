/** What `check` says about other issuers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, type Loaded, loadConfig } from '../../../src/app/load-config.ts'
import { discoveryOf, issOf } from '../../../src/identity/issuers/public-issuers.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-issuers-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Json = Record<string, unknown>

const WORK = { id: 'work', issuer: 'https://login.example.com', audience: 'orders', algorithms: ['RS256'] }

let written = 0
function load(issuers: Json[], auth: Json = {}): Loaded {
  const file = join(dir, `${written++}.json`)
  const routes = [{ name: 'shop', match: { path: '/shop' }, upstream: ['http://127.0.0.1:9'], access: 'authenticated' }]
  writeFileSync(file, JSON.stringify({ server: { publicUrl: 'https://api.example.com' }, auth, issuers, routes }))
  return loadConfig({ file, env: {}, needSecrets: false })
}

function problems(...given: Parameters<typeof load>): string[] {
  try {
    load(...given)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(({ path, message, hint }) => `${path}: ${message}${hint === undefined ? '' : ` (${hint})`}`)
  }
}

test('an issuer needs an id, an issuer, an audience and algorithms', () => {
  expect(problems([WORK])).toEqual([])
  expect(load([WORK]).warnings).toEqual([])
  for (const name of ['id', 'issuer', 'audience', 'algorithms'])
    expect(problems([{ ...WORK, [name]: undefined }]).join()).toContain(`issuers[0]: ${name} is missing`)
})

describe('is refused, with what would be right', () => {
  test.each([
    ['with a line break', 'a\nb', 'issuers[0].roles.map.…: this name has the wrong form'],
    ['of digits', '123456', 'issuers[0].roles.map.…: must be an array'],
  ])('a value of a claim %s, which gives no list', (_, value, message) => {
    const found = problems([{ ...WORK, roles: { claim: 'groups', map: { [value]: 'user' } } }])
    expect(found).toEqual([expect.stringContaining(message)])
  })

  test.each<[what: string, issuers: Json[], problem: string]>([
    ['an algorithm with a shared secret', [{ ...WORK, algorithms: ['HS256'] }], 'issuers[0].algorithms[0]'],
    ['no algorithm', [{ ...WORK, algorithms: ['none'] }], 'issuers[0].algorithms[0]'],
    ['an empty list of algorithms', [{ ...WORK, algorithms: [] }], 'issuers[0].algorithms'],
    ['an empty list of audiences', [{ ...WORK, audience: [] }], 'issuers[0].audience'],
    ['an unknown key', [{ ...WORK, audiences: ['x'] }], 'issuers[0].audiences'],
    ['an id that a header cannot split', [{ ...WORK, id: 'a:b' }], 'issuers[0].id'],
    ['http to another machine', [{ ...WORK, issuer: 'http://login.example.com' }], 'issuers[0].issuer: must begin with https://'],
    ['http for the keys', [{ ...WORK, jwksUri: 'http://login.example.com/keys' }], 'issuers[0].jwksUri: must begin with https://'],
    ['no URL', [{ ...WORK, issuer: 'login.example.com' }], 'issuers[0].issuer'],
    ['this gateway itself', [{ ...WORK, issuer: 'https://api.example.com' }], 'issuers[0].issuer: is this gateway itself'],
    ['an id twice', [WORK, { ...WORK, issuer: 'https://other.example.com' }], 'issuers[1].id: work is used twice'],
    ['an issuer twice', [WORK, { ...WORK, id: 'again' }], 'issuers[1].issuer: is used twice'],
    ['a token for nobody in particular', [{ ...WORK, tokenFile: '/x' }], 'issuers[0].tokenFile: needs jwksUri'],
    [
      'the type of a logout token',
      [{ ...WORK, typ: ['at+jwt', 'application/Logout+JWT'] }],
      'logout+jwt is the type of another kind of token',
    ],
    ['a pointer that ends nowhere', [{ ...WORK, require: { '/a/': ['x'] } }], 'issuers[0].require'],
    ['a pointer with a bad escape', [{ ...WORK, require: { '/a~2': ['x'] } }], 'issuers[0].require'],
    ['a requirement without a value', [{ ...WORK, require: { tenant: [] } }], 'issuers[0].require.tenant'],
    ['a life of a week', [{ ...WORK, maxTtlSeconds: 604_800 }], 'issuers[0].maxTtlSeconds'],
    [
      'the role admin',
      [{ ...WORK, roles: { claim: 'groups', map: { a: ['user', 'admin'] } } }],
      'issuers[0].roles.map.a[1]: admin cannot be given by another issuer',
    ],
    [
      'an unknown role',
      [{ ...WORK, roles: { claim: 'groups', map: { a: ['staff'] } } }],
      'issuers[0].roles.map.a[0]: staff is not defined (use one of these: user',
    ],
  ])('%s', (_, issuers, problem) => {
    expect(problems(issuers).join('\n')).toContain(problem)
  })

  test('a role that includes admin, and a role that needs a second factor', () => {
    const roles = { admin: { inherits: ['user'] }, user: {}, root: { inherits: ['admin'] }, boss: { inherits: ['chief'] }, chief: {} }
    const withRole = (role: string) => [{ ...WORK, roles: { claim: 'groups', map: { a: [role] } } }]
    const auth = { roles, mfa: { requiredForRoles: ['chief'] } }
    expect(problems(withRole('root'), auth).join()).toContain('root includes admin, which cannot be given by another issuer')
    expect(problems(withRole('boss'), auth).join()).toContain('needs a second factor')
    expect(problems(withRole('user'), auth)).toEqual([])
  })
})

describe('where anybody gets a token for any audience, require must say whose', () => {
  const TENANT = '11111111-2222-3333-4444-555555555555'
  test.each<[issuer: string, wrong: Json[], right: Json[], hint: string]>([
    [
      'https://token.actions.githubusercontent.com',
      [{}, { ref: ['refs/heads/main'] }, { job_workflow_ref: ['a/b/.github/workflows/x.yml@main'] }, { actor: ['ann'] }],
      [{ repository: ['a/b'] }, { repository_owner_id: ['1'], ref: ['refs/heads/main'] }, { sub: ['repo:a/b:ref:refs/heads/main'] }],
      'require: { repository: [my-organisation/my-repository] }',
    ],
    [
      'https://accounts.google.com',
      [
        {},
        { email: ['a@example.com'] },
        { email_verified: [true] },
        { email: ['a@example.com'], email_verified: [false] },
        { email: ['a@example.com'], email_verified: [true, false] },
      ],
      [{ email: ['a@example.com'], email_verified: [true] }, { hd: ['example.com'] }, { sub: ['1'] }],
      'email_verified: [true]',
    ],
    ['https://gitlab.com', [{}, { ref: ['main'] }], [{ project_path: ['a/b'] }], 'project_path'],
    ...['common', 'organizations', '{tenantid}'].map((tenant): [string, Json[], Json[], string] => [
      `https://login.microsoftonline.com/${tenant}/v2.0`,
      [{}, { azp: ['x'] }],
      [{ tid: [TENANT] }],
      'require: { tid: [the id of your tenant] }',
    ]),
    ['https://login.microsoftonline.com/consumers/v2.0', [{}, { tid: ['9188040d-6c67-4c5b-b112-36a304b66dad'] }], [{ sub: ['x'] }], 'sub'],
  ])('%s', (issuer, wrong, right, hint) => {
    for (const require of wrong) {
      const [problem] = problems([{ ...WORK, issuer, require }])
      expect(problem).toContain('issuers[0].require: must name')
      expect(problem).toContain('anybody gets a token for any audience')
      expect(problem).toContain(hint)
    }
    for (const require of right) expect(problems([{ ...WORK, issuer, require }])).toEqual([])
  })

  test('an issuer of one organisation needs none', () => {
    for (const issuer of [`https://login.microsoftonline.com/${TENANT}/v2.0`, 'https://token.actions.githubusercontent.com/example'])
      expect(problems([{ ...WORK, issuer }])).toEqual([])
  })

  test('of several tenants of Entra ID only the required ones are issuers', () => {
    const settings = { issuer: 'https://login.microsoftonline.com/common/v2.0', require: { tid: ['one', 'two', 'one'] } }
    expect(issOf(settings)).toEqual(['https://login.microsoftonline.com/one/v2.0', 'https://login.microsoftonline.com/two/v2.0'])
    expect(discoveryOf(settings.issuer)).toEqual({
      url: 'https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration',
      issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0',
    })
    expect(discoveryOf('https://example.eu.auth0.com/')).toEqual({
      url: 'https://example.eu.auth0.com/.well-known/openid-configuration',
      issuer: 'https://example.eu.auth0.com/',
    })
    expect(
      problems([
        { ...WORK, issuer: 'https://login.microsoftonline.com/one/v2.0' },
        { ...WORK, id: 'all', ...settings },
      ]).join(),
    ).toContain('issuers[1].issuer: is used twice')
  })
})

test('a type that tells no kinds of tokens apart is a warning, unless a claim does', () => {
  expect(load([{ ...WORK, typ: 'JWT' }]).warnings.map(({ path }) => path)).toEqual(['issuers[0].typ'])
  expect(load([{ ...WORK, typ: ['none'], require: { use: ['access'] } }]).warnings).toEqual([])
})
