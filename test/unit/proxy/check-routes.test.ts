/** What `check` concludes from routes, roles and limits together. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { checkConfig } from '../../../src/proxy/routing/check-config.ts'
import type { Finding } from '../../../src/proxy/routing/finding.ts'
import { configWith, route } from '../../support/config.ts'
import { countryDatabase } from '../../support/country-database.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-routes-'))
const fileWith = (name: string, content: string | Buffer) => {
  writeFileSync(join(dir, name), content)
  return join(dir, name)
}
const FILE = fileWith('office.txt', '10.1.0.0/16\n')
const OTHER_FILE = fileWith('blocked.txt', '10.2.0.0/16\n')
const DATABASE = fileWith('countries.mmdb', countryDatabase({ '192.0.2.0/24': 'DE' }))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const roles = { billing: { scopes: ['bills:read'] }, lead: { inherits: ['billing'] }, support: {} }
const found = (part: object) => checkConfig(configWith({ auth: { roles }, ...part }))
const of = (findings: readonly Finding[], rule: string) => findings.filter((finding) => finding.rule === rule).map(({ message }) => message)
const twice = (first: object, second: object) => [
  route('/a', { name: 'a', ...first }),
  route('/b', { name: 'b', rewrite: { prefix: '/a' }, ...second }),
]

describe('a route that reaches what a stricter route protects', () => {
  const laxer = (first: object, second: object) => of(found({ routes: twice(first, second) }).warnings, 'route-laxer')

  it.each<[what: string, strict: object, lax: object, message: string]>([
    ['other roles', { roles: ['billing'] }, { roles: ['support'] }, 'role support passes here, and not there (role billing)'],
    ['more roles', { roles: ['billing'] }, { roles: ['billing', 'support'] }, 'role support passes here'],
    [
      'a role that the required role contains',
      { roles: ['lead'] },
      { roles: ['billing'] },
      'role billing passes here, and not there (role lead)',
    ],
    ['fewer requirements', { roles: ['billing'], scopes: ['x'] }, { roles: ['billing'] }, 'role billing passes here'],
    ['a scope in place of a role', { roles: ['billing'] }, { scopes: ['bills:read'] }, 'scope bills:read passes here'],
    [
      'two roles together',
      { allOf: [{ roles: ['billing'] }, { roles: ['support'] }, { roles: ['admin'] }] },
      { allOf: [{ roles: ['billing'] }, { roles: ['support'] }] },
      'roles billing and support passes here',
    ],
    ['no second factor', { roles: ['billing'], mfa: true }, { roles: ['billing'] }, 'a caller without a second factor passes here'],
    [
      'an older login',
      { roles: ['billing'], maxAuthAgeSeconds: 60 },
      { roles: ['billing'], maxAuthAgeSeconds: 600 },
      'a login older than 60 s passes here',
    ],
  ])('%s', (_, strict, lax, message) => {
    expect(laxer({ access: strict }, { access: lax }).join()).toContain(message)
    expect(laxer({ access: strict }, { access: lax }).join()).toContain('/b reaches what route a protects')
  })

  it.each<[what: string, strict: object, lax: object]>([
    ['the same roles', { roles: ['billing', 'support'] }, { roles: ['support', 'billing'] }],
    ['a role that contains the required role', { roles: ['billing'] }, { roles: ['lead'] }],
    ['a role with the required scope', { scopes: ['bills:read'] }, { roles: ['billing'] }],
    ['more requirements', { roles: ['billing'] }, { roles: ['billing'], scopes: ['x'], mfa: true }],
  ])('not: %s', (_, strict, lax) => {
    const messages = laxer({ access: strict }, { access: lax }).filter((message) => message.startsWith('/b'))
    expect(messages).toEqual([])
  })

  it('not: another upstream, another path, other methods', () => {
    const [strict, lax] = [{ access: { roles: ['billing'] } }, { access: { roles: ['support'] } }]
    expect(laxer(strict, { ...lax, upstream: ['http://127.0.0.1:8'] })).toEqual([])
    expect(laxer(strict, { ...lax, rewrite: { prefix: '/other' } })).toEqual([])
    expect(laxer({ ...strict, match: { methods: ['POST'] } }, { ...lax, match: { methods: ['GET'] } })).toEqual([])
  })

  it('through another host', () => {
    const routes = [
      route('/a', { name: 'strict', match: { host: 'inner.test' }, access: { roles: ['billing'] } }),
      route('/a', { name: 'lax', match: { host: 'outer.test' }, access: { roles: ['support'] } }),
    ]
    expect(of(found({ routes }).warnings, 'route-laxer').join()).toContain('outer.test/a reaches what route strict protects')
  })
})

describe('networks', () => {
  const wider = (strict: object, lax: object) =>
    of(found({ routes: twice({ networks: strict }, { networks: lax }) }).warnings, 'route-laxer-network').filter((message) =>
      message.startsWith('/b'),
    )

  it.each([
    ['none', { allow: ['10.0.0.0/8'] }, {}],
    ['a larger network', { allow: ['10.1.0.0/16'] }, { allow: ['10.0.0.0/8'] }],
    ['one more network', { allow: ['10.0.0.0/8'] }, { allow: ['10.0.0.0/8', '192.168.0.0/16'] }],
    ['a denied network', { deny: ['10.9.0.0/16'] }, {}],
    ['no file of allowed networks', { allowFile: FILE }, {}],
    ['another file of allowed networks', { allowFile: FILE }, { allowFile: OTHER_FILE }],
    ['a network beside the file', { allowFile: FILE }, { allowFile: FILE, allow: ['10.0.0.0/8'] }],
    ['no file of denied networks', { denyFile: FILE }, { deny: ['10.9.0.0/16'] }],
  ])('wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual(['/b reaches what route a protects by networks, from networks that it does not admit'])
  })

  it.each([
    ['the same', { allow: ['10.0.0.0/8'] }, { allow: ['10.0.0.0/8'] }],
    ['a smaller network', { allow: ['10.0.0.0/8'] }, { allow: ['10.1.0.0/16', '10.2.3.4'] }],
    ['more denied', { deny: ['10.9.0.0/16'] }, { deny: ['10.0.0.0/8'] }],
    ['fewer admitted', {}, { allow: ['10.0.0.0/8'] }],
    ['the same files', { allowFile: FILE, denyFile: OTHER_FILE }, { allowFile: FILE, denyFile: OTHER_FILE }],
    ['one of the two lists', { allowFile: FILE, allow: ['10.0.0.0/8'] }, { allowFile: FILE }],
    ['a file where any network may', {}, { allowFile: FILE, denyFile: OTHER_FILE }],
  ])('not wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual([])
  })
})

describe('countries', () => {
  const laxer = (strict: object | undefined, lax: object | undefined, rest: object = { roles: ['billing'] }) => {
    const access = (countries: object | undefined) => ({ ...rest, ...(countries && { countries }) })
    const routes = twice({ access: access(strict) }, { access: access(lax) })
    return of(found({ geo: { database: DATABASE }, routes }).warnings, 'route-laxer-country').filter((message) => message.startsWith('/b'))
  }

  it.each<[what: string, strict: object, lax: object | undefined, who: string]>([
    [
      'no countries',
      { allow: ['DE'] },
      undefined,
      'clients in countries other than DE, and clients whose country is unknown pass here, and not there (from DE)',
    ],
    ['one more country', { allow: ['DE'] }, { allow: ['AT', 'DE'] }, 'clients in AT pass here'],
    ['a denied country', { deny: ['KP'] }, undefined, 'clients in KP pass here, and not there (not from KP)'],
    ['another denied country', { deny: ['KP'] }, { deny: ['FR'] }, 'clients in KP pass here'],
    ['a list of denied countries', { allow: ['DE'] }, { deny: ['FR'], unknown: 'deny' }, 'clients in countries other than DE pass here'],
    ['more, and others', { deny: ['KP'], allow: ['DE'] }, { unknown: 'deny' }, 'clients in KP and others pass here'],
    ['an unknown country', { allow: ['DE'] }, { allow: ['DE'], unknown: 'allow' }, 'clients whose country is unknown pass here'],
    ['an unknown country, denied', { deny: ['KP'], unknown: 'deny' }, { deny: ['KP'] }, 'clients whose country is unknown pass here'],
  ])('laxer: %s', (_, strict, lax, who) => {
    expect(laxer(strict, lax)).toEqual([expect.stringContaining(`/b reaches what route a protects by countries: ${who}`)])
  })

  it.each<[what: string, strict: object | undefined, lax: object]>([
    ['the same', { allow: ['AT', 'DE'] }, { allow: ['DE', 'AT'] }],
    ['fewer countries', { allow: ['AT', 'DE'] }, { allow: ['DE'] }],
    ['a country of the list is denied', { allow: ['AT', 'DE'] }, { allow: ['AT', 'DE'], deny: ['DE'] }],
    ['more denied', { deny: ['KP'] }, { deny: ['FR', 'KP'] }],
    ['a list in place of a denied country', { deny: ['KP'] }, { allow: ['DE'] }],
    ['any country', undefined, { allow: ['DE'] }],
  ])('not laxer: %s', (_, strict, lax) => {
    expect(laxer(strict, lax)).toEqual([])
  })

  it('public routes, and routes with other access, are compared too', () => {
    expect(laxer({ allow: ['DE'] }, { allow: ['AT'] }, { public: true })).toHaveLength(1)
    const routes = twice({ access: { roles: ['billing'], countries: { allow: ['DE'] } } }, { access: { roles: ['lead'] } })
    expect(of(found({ geo: { database: DATABASE }, routes }).warnings, 'route-laxer-country')).toHaveLength(1)
  })

  it('not: another upstream, or no way to the same path', () => {
    const strict = { access: { countries: { allow: ['DE'] } } }
    const all = (lax: object) => of(found({ geo: { database: DATABASE }, routes: twice(strict, lax) }).warnings, 'route-laxer-country')
    expect(all({ access: 'authenticated', upstream: ['http://127.0.0.1:8'] })).toEqual([])
    expect(all({ access: 'authenticated', rewrite: { prefix: '/other' } })).toEqual([])
  })
})

describe('routes that another proxy serves', () => {
  const proxy = { server: { trustedProxies: ['127.0.0.1/32'] }, forwardAuth: { dialect: 'nginx' } }
  const asked = (path: string, part: Parameters<typeof route>[1]) => ({ ...route(path, part), upstream: [], forwardAuth: true })

  it('reach no upstream: a public one is not laxer than another, whatever its host', () => {
    const routes = [
      asked('/a', { name: 'strict', access: { roles: ['billing'] }, networks: { allow: ['10.0.0.0/8'] } }),
      asked('/a', { name: 'lax', match: { host: 'other.test' } }),
      route('/a', { name: 'gateway', match: { host: 'third.test' } }),
    ]
    expect(found({ ...proxy, routes })).toMatchObject({ problems: [], warnings: [] })
  })

  it('an upstream beside forwardAuth is compared as ever', () => {
    const routes = twice({ access: { roles: ['billing'] }, forwardAuth: true }, { access: { roles: ['support'] }, forwardAuth: true })
    expect(of(found({ ...proxy, routes }).warnings, 'route-laxer').join()).toContain('/b reaches what route a protects')
  })

  it('two of one path and method are a problem, and their paths overlap as others do', () => {
    expect(() => found({ ...proxy, routes: [asked('/a', { name: 'a' }), asked('/a', { name: 'b' })] })).toThrow(
      'the same host, path and method as route a',
    )
    const { notes } = found({ ...proxy, routes: [asked('/', { name: 'root' }), asked('/a', { name: 'a' })] })
    expect(of(notes, 'route-overlap')).toEqual(['takes the requests below /a; route root (/) takes the rest'])
  })
})

describe('routes that nobody reaches', () => {
  it('needs a scope that no role grants, with a second factor', () => {
    const routes = [route('/a', { access: { scopes: ['lost', 'bills:read'], mfa: true } })]
    expect(of(found({ routes }).warnings, 'access-unreachable')).toEqual(['nobody passes: no role grants the scope lost'])
  })

  it('machine clients may have scopes of their own: a note', () => {
    const { warnings, notes } = found({ routes: [route('/a', { access: { scopes: ['machines'] } })] })
    expect(of(warnings, 'access-unreachable')).toEqual([])
    expect(of(notes, 'access-machines-only')).toEqual(['only machine clients pass: no role grants the scope machines'])
  })

  it('a WebSocket on a route without GET', () => {
    const routes = [route('/a', { match: { methods: ['POST'] }, websocket: true })]
    expect(of(found({ routes }).warnings, 'route-unreachable')[0]).toContain('handshake of a WebSocket is a GET')
  })

  it('a path of the gateway itself', () => {
    expect(of(found({ routes: [route('/auth/x')] }).warnings, 'route-unreachable')[0]).toContain('this route is never reached')
  })
})

describe('notes', () => {
  const notes = (routes: object[], rule: string) => of(found({ routes }).notes, rule)

  it('a longer path takes requests from a shorter path', () => {
    expect(notes([route('/', { name: 'root' }), route('/a'), route('/a/b')], 'route-overlap')).toEqual([
      'takes the requests below /a; route root (/) takes the rest',
      'takes the requests below /a/b; route r-a (/a) takes the rest',
    ])
  })

  it('methods that no route of the longer path takes', () => {
    const routes = [route('/', { name: 'root' }), route('/a', { match: { methods: ['GET'] } })]
    expect(notes(routes, 'route-methods')).toEqual(['every other method below /a gets 405: route root (/) is not tried there'])
    const both = [...routes, route('/a', { name: 'rest', match: { methods: ['POST'] } })]
    expect(notes(both, 'route-methods')).toHaveLength(1)
  })

  it('a host with routes of its own', () => {
    const routes = [route('/', { name: 'shop', match: { host: 'shop.test' } }), route('/api', { name: 'api' })]
    expect(notes(routes, 'route-host-first')[0]).toContain('is not used for the host shop.test: its route shop (/) goes first')
  })

  it('a role of the list contains another', () => {
    expect(notes([route('/a', { access: { roles: ['lead', 'billing'] } })], 'role-contained')).toEqual([
      'role lead contains role billing, so that billing alone requires the same',
    ])
  })

  it('a configuration with notes alone has no warning', () => {
    expect(found({ routes: [route('/', { name: 'root' }), route('/a')] })).toMatchObject({ problems: [], warnings: [] })
  })
})

describe('limits that nobody uses', () => {
  const policies = { mine: { limit: 1, windowSeconds: 60, key: 'client' } }
  const unused = (part: object) => found({ routes: [route('/a')], ...part }).warnings.filter(({ rule }) => rule === 'limit-unused')

  it('warns of a policy that no route and no default names', () => {
    expect(unused({ limits: { policies } })).toMatchObject([{ path: ['limits', 'policies', 'mine'] }])
  })

  it('not: a policy that is used, and the policies that are there by default', () => {
    expect(unused({ limits: { policies, default: ['mine'] } })).toEqual([])
    expect(unused({ limits: { policies }, routes: [route('/a', { limits: ['mine'] })] })).toEqual([])
    expect(unused({ limits: { default: [] } })).toEqual([])
    const asked = { ...route('/a', { limits: ['mine'] }), upstream: [], forwardAuth: true }
    const proxy = { server: { trustedProxies: ['127.0.0.1/32'] }, forwardAuth: { dialect: 'nginx' } }
    expect(unused({ ...proxy, limits: { policies }, routes: [asked] })).toEqual([])
  })
})
