import { describe, expect, it } from 'vitest'
import { type Access, authorize, compileAccess } from '../../../src/identity/access/access-policy.ts'
import type { Principal } from '../../../src/identity/access/principal.ts'
import type { AccessConfig } from '../../../src/platform/config/schema.ts'
import type { Problem } from '../../../src/platform/lib/errors.ts'

const NOW = 1_800_000_000_000
const ANYBODY = { permits: () => true, needsFactor: false, maxAuthAgeSeconds: null, scopes: [], label: '' }

const principal = (roles: string[] = [], scopes: string[] = [], part: Partial<Principal> = {}): Principal => ({
  kind: 'user',
  id: 'u',
  sessionId: 's',
  email: null,
  roles: new Set(roles),
  scopes: new Set(scopes),
  epoch: 0,
  expiresAt: 0,
  mustChangePassword: false,
  hasFactor: false,
  owesFactor: false,
  authenticatedAt: 0,
  external: null,
  signingKid: null,
  cookieId: null,
  identityHeaders: [],
  ...part,
})

/** `ok`, or the code of the refusal. */
function outcome(access: AccessConfig | Access, who: Principal | null): string {
  try {
    authorize(typeof access === 'object' && 'permits' in access ? access : compileAccess(access), who, () => NOW)
    return 'ok'
  } catch (error) {
    return (error as Problem).code
  }
}
const refusal = (access: AccessConfig, who: Principal | null): Problem => {
  try {
    authorize(compileAccess(access), who, () => NOW)
  } catch (error) {
    return error as Problem
  }
  throw new Error('was allowed')
}

const [ann, root, writer, both] = [
  principal(['user']),
  principal(['admin']),
  principal([], ['write']),
  principal(['user'], ['read', 'write']),
]

describe('who may pass', () => {
  it.each<[string, AccessConfig, Principal | null, string]>([
    ['public: nobody in particular', 'public', null, 'ok'],
    ['public: a user', 'public', ann, 'ok'],
    ['authenticated: nobody', 'authenticated', null, 'token_missing'],
    ['authenticated: a user without roles', 'authenticated', principal(), 'ok'],
    ['roles: nobody', { roles: ['admin'] }, null, 'token_missing'],
    ['roles: not the one', { roles: ['admin'] }, ann, 'forbidden'],
    ['roles: the one', { roles: ['admin'] }, root, 'ok'],
    ['roles: any one of them is enough', { roles: ['admin', 'user'] }, ann, 'ok'],
    ['roles: a longer name is another role', { roles: ['admin'] }, principal(['administrator', 'Admin', 'adm']), 'forbidden'],
    ['scopes: all of them are needed', { scopes: ['read', 'write'] }, writer, 'forbidden'],
    ['scopes: all of them', { scopes: ['read', 'write'] }, both, 'ok'],
    ['a role is no scope', { scopes: ['user'] }, ann, 'forbidden'],
    ['roles and scopes: the role alone', { roles: ['user'], scopes: ['read'] }, ann, 'forbidden'],
    ['roles and scopes: both', { roles: ['user'], scopes: ['read'] }, both, 'ok'],
    ['anyOf: the first', { anyOf: [{ roles: ['admin'] }, { scopes: ['write'] }] }, root, 'ok'],
    ['anyOf: the second', { anyOf: [{ roles: ['admin'] }, { scopes: ['write'] }] }, writer, 'ok'],
    ['anyOf: none', { anyOf: [{ roles: ['admin'] }, { scopes: ['write'] }] }, ann, 'forbidden'],
    ['allOf: one of two', { allOf: [{ roles: ['user'] }, { roles: ['admin'] }] }, ann, 'forbidden'],
    ['allOf: both', { allOf: [{ roles: ['user'] }, { roles: ['admin'] }] }, principal(['user', 'admin']), 'ok'],
    ['anyOf and roles: anyOf alone', { roles: ['admin'], anyOf: [{ roles: ['user'] }] }, ann, 'forbidden'],
    ['anyOf and allOf: anyOf alone', { anyOf: [{ roles: ['user'] }], allOf: [{ scopes: ['x'] }] }, ann, 'forbidden'],
  ])('%s', (_name, access, who, expected) => {
    expect(outcome(access, who)).toBe(expected)
  })
})

describe('the ladder ends in denial', () => {
  it('denies whom the policy does not permit, whatever its rank', () => {
    for (const rank of [0, 1, 2] as const) {
      const nobody: Access = { ...ANYBODY, rank, permits: () => false, label: 'nobody' }
      expect(outcome(nobody, root)).toBe('forbidden')
    }
  })

  it('denies an anonymous request everywhere but on a public route', () => {
    for (const rank of [1, 2] as const) expect(outcome({ ...ANYBODY, rank }, null)).toBe('token_missing')
  })
})

describe('a password that must be changed', () => {
  const stuck = principal(['admin'], [], { mustChangePassword: true })
  it.each<AccessConfig>(['public', 'authenticated', { roles: ['admin'] }])('goes before every permission: %j', (access) => {
    expect(outcome(access, stuck)).toBe('password_change_required')
  })
})

describe('WWW-Authenticate (RFC 6750 §3)', () => {
  it('is bare without a token', () => {
    expect(refusal({ roles: ['admin'] }, null).headers['www-authenticate']).toBe('Bearer')
  })
  it('names the scopes that would help', () => {
    const { headers } = refusal({ scopes: ['read'], allOf: [{ scopes: ['write'] }] }, ann)
    expect(headers['www-authenticate']).toBe('Bearer error="insufficient_scope", scope="read write"')
  })
  it('names no role, which stays in the log', () => {
    const error = refusal({ roles: ['admin'] }, ann)
    expect(error.headers['www-authenticate']).toBe('Bearer error="insufficient_scope"')
    expect(error.detail).not.toContain('admin')
    expect(error.cause).toBe('needs role admin')
  })
})

describe('a route that asks for a second factor', () => {
  it.each<[string, AccessConfig, Partial<Principal>, string]>([
    ['refuses a session that began without one', { roles: ['admin'], mfa: true }, {}, 'mfa_required'],
    ['lets one pass that began with it', { roles: ['admin'], mfa: true }, { hasFactor: true }, 'ok'],
    ['tells who may not come anyway only that', { roles: ['other'], mfa: true }, {}, 'forbidden'],
    ['refuses a role that demands it, on any route', 'authenticated', { owesFactor: true }, 'mfa_required'],
    ['and on a public one', 'public', { owesFactor: true }, 'mfa_required'],
  ])('%s', (_name, access, part, expected) => {
    expect(outcome(access, principal(['admin'], [], part))).toBe(expected)
  })
})

describe('a route that asks for a fresh authentication (RFC 9470)', () => {
  const access: AccessConfig = { roles: ['admin'], maxAuthAgeSeconds: 300 }
  const since = (seconds: number) => principal(['admin'], [], { authenticatedAt: NOW / 1000 - seconds })

  it('lets pass who authenticated within the time, to the second', () => {
    expect([0, 300, 301].map((age) => outcome(access, since(age)))).toEqual(['ok', 'ok', 'reauthentication_required'])
  })

  it('says in the challenge how fresh it has to be', () => {
    const { status, headers } = refusal(access, since(301))
    expect(status).toBe(401)
    expect(headers['www-authenticate']).toBe('Bearer error="insufficient_user_authentication", max_age="300"')
  })

  it('never lets a key or a machine client pass: no person has authenticated', () => {
    expect(outcome(access, principal(['admin'], [], { kind: 'apiKey' }))).toBe('reauthentication_required')
  })
})

describe('public and countries in an access rule', () => {
  it.each<[string, AccessConfig, rank: number, label: string]>([
    ['public: true', { public: true }, 0, 'public'],
    ['public with countries', { public: true, countries: { allow: ['DE'] } }, 0, 'public'],
    ['countries alone', { countries: { deny: ['DE'] } }, 1, 'authenticated'],
    ['public: false', { public: false, countries: { deny: ['DE'] } }, 1, 'authenticated'],
    ['countries beside a role', { roles: ['admin'], countries: { allow: ['DE'] } }, 2, 'role admin'],
  ])('%s', (_, config, rank, label) => {
    expect(compileAccess(config)).toMatchObject({ rank, label })
  })

  it('countries alone admit no anonymous caller', () => {
    expect(outcome({ countries: { allow: ['DE'] } }, null)).toBe('token_missing')
    expect(outcome({ countries: { allow: ['DE'] } }, principal())).toBe('ok')
    expect(outcome({ public: true, countries: { allow: ['DE'] } }, null)).toBe('ok')
    expect(outcome({ roles: ['admin'], countries: { allow: ['DE'] } }, principal(['user']))).toBe('forbidden')
  })
})
