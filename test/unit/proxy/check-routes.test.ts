/** What `check` concludes from routes, roles and limits together. */
import { describe, expect, it } from 'vitest'
import { checkConfig } from '../../../src/proxy/routing/check-config.ts'
import type { Finding } from '../../../src/proxy/routing/finding.ts'
import { configWith, route } from '../../support/config.ts'

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

/** They are not on this machine, which is a warning of its own. */
const FILE = '/not/here/office.txt'
const OTHER = '/not/here/others.txt'

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
    ['no file', { allowFile: FILE }, {}],
    ['another file', { allow: ['10.0.0.0/8'], allowFile: FILE }, { allowFile: OTHER }],
    ['a denied file', { denyFile: FILE }, { denyFile: OTHER }],
  ])('wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual(['/b reaches what route a protects by networks, from networks that it does not admit'])
  })

  it.each([
    ['the same', { allow: ['10.0.0.0/8'] }, { allow: ['10.0.0.0/8'] }],
    ['a smaller network', { allow: ['10.0.0.0/8'] }, { allow: ['10.1.0.0/16', '10.2.3.4'] }],
    ['more denied', { deny: ['10.9.0.0/16'] }, { deny: ['10.0.0.0/8'] }],
    ['fewer admitted', {}, { allow: ['10.0.0.0/8'] }],
    ['the same files', { allowFile: FILE, denyFile: OTHER }, { allowFile: FILE, denyFile: OTHER }],
    ['one more denied file', { allow: ['10.0.0.0/8'] }, { allow: ['10.0.0.0/8'], denyFile: FILE }],
  ])('not wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual([])
  })
})

describe('countries', () => {
  const wider = (strict: object | undefined, lax: object | undefined) => {
    const access = (countries: object | undefined) => ({ access: { roles: ['billing'], ...(countries && { countries }) } })
    const part = { geo: { database: '/not/here.mmdb' }, routes: twice(access(strict), access(lax)) }
    return of(found(part).warnings, 'route-laxer-country').filter((message) => message.startsWith('/b'))
  }

  it.each<[what: string, strict: object, lax: object | undefined]>([
    ['none', { allow: ['DE'] }, undefined],
    ['one more country', { allow: ['DE'] }, { allow: ['DE', 'AT'] }],
    ['a denied country', { deny: ['KP'] }, { deny: ['FR'] }],
    ['an unknown country', { allow: ['DE'] }, { allow: ['DE'], unknown: 'allow' }],
  ])('wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual(['/b reaches what route a protects by countries, from countries that it does not admit'])
  })

  it.each<[what: string, strict: object | undefined, lax: object]>([
    ['the same', { allow: ['DE', 'AT'] }, { allow: ['AT', 'DE'] }],
    ['fewer countries', { deny: ['KP'] }, { allow: ['DE'] }],
    ['fewer than all', undefined, { allow: ['DE'] }],
  ])('not wider: %s', (_, strict, lax) => {
    expect(wider(strict, lax)).toEqual([])
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
  })
})
