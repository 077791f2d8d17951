import { describe, expect, it } from 'vitest'
import { createCallers } from '../../../../src/proxy/policy/callers.ts'
import { createExplain } from '../../../../src/proxy/policy/explain.ts'
import { junitOf } from '../../../../src/proxy/policy/junit.ts'
import { readPolicyCases } from '../../../../src/proxy/policy/policy-cases.ts'
import { createRunCase } from '../../../../src/proxy/policy/run-cases.ts'
import { configWith, route } from '../../../support/config.ts'

const config = configWith({
  auth: { roles: { billing: { scopes: ['bills:read'] } } },
  routes: [
    route('/', { name: 'front' }),
    route('/bills', {
      name: 'bills',
      upstream: ['http://127.0.0.1:8'],
      access: { roles: ['billing'] },
      rewrite: { prefix: '/v2/bills' },
      limits: ['perUser'],
    }),
    route('/inside', { name: 'inside', networks: { allow: ['10.0.0.0/8'] } }),
    route('/secure', { name: 'secure', access: { roles: ['billing'], mfa: true, maxAuthAgeSeconds: 60 } }),
  ],
})
const NOW_SECONDS = 1_800_000_000

const read = (cases: string) => readPolicyCases('cases.yaml', `cases:\n${cases}`, config)
const lines = (cases: string) => read(cases).problems.map(({ where, path, message, hint }) => `${where} ${path}: ${message}; ${hint}`)

function results(cases: string) {
  const { cases: found, problems } = read(cases)
  expect(problems).toEqual([])
  const users = new Map([
    [
      'ann',
      {
        id: 'a1',
        email: 'ann@example.com',
        email_verified_at: null,
        metadata: { public: {}, admin: {} },
        roles: ['billing'],
        disabled_at: null,
        password_must_change: false,
        mfa_enabled: true,
      },
    ],
  ])
  const explain = createExplain({ config, now: () => NOW_SECONDS * 1000 })
  return found.map(createRunCase({ explain, callers: createCallers(config), users, nowSeconds: NOW_SECONDS }))
}
const faults = (one: string) => results(`  - ${one}`)[0]!.faults

describe('a file of cases', () => {
  it.each([
    ['{ url: /x, expct: {}, expect: { decision: allow } }', 'cases.yaml:2:16 cases[0].expct: unknown key; did you mean expect?'],
    ['{ expect: { decision: allow } }', 'cases.yaml:2:5 cases[0]: url is missing; undefined'],
    ['{ url: /x, expect: { decision: allwo } }', 'cases.yaml:2:26 cases[0].expect.decision: allwo is no decision; did you mean allow?'],
    ['{ url: /x, expect: { decision: 99 } }', 'cases[0].expect.decision: 99 is no decision; write allow'],
    ['{ url: /x, method: get, expect: { decision: allow } }', 'cases[0].method: is no method; write it in capitals, such as GET'],
    ['{ url: /x, from: here, expect: { decision: allow } }', 'cases[0].from: must be an IP address; such as 203.0.113.7'],
    [
      '{ url: /x, principal: { role: biling }, expect: { decision: allow } }',
      'there is no role biling; did you mean billing? The roles are admin, billing, user',
    ],
    [
      '{ url: /x, principal: { role: user, user: ann }, expect: { decision: allow } }',
      'must name one caller; write one of role, roles and user',
    ],
    ['{ url: /x, principal: {}, expect: { decision: allow } }', 'must name one caller'],
    ['{ url: /x, principal: nobody, expect: { decision: allow } }', 'write anonymous, { role: admin }'],
    ['{ url: /x, expect: { decision: allow, route: bils } }', 'there is no route bils; did you mean bills?'],
    ['{ url: /x, expect: { decision: allow, limits: [perUsr] } }', 'there is no policy perUsr; did you mean perUser?'],
  ])('%s', (text, line) => {
    expect(lines(`  - ${text}\n`).join('\n')).toContain(line)
  })

  it('names every problem at once, and the place of broken YAML', () => {
    expect(lines('  - { url: /x, principal: { role: a }, expect: { decision: b } }\n')).toHaveLength(2)
    expect(readPolicyCases('cases.yaml', 'cases: [', config).problems[0]!.where).toMatch(/^cases\.yaml:\d+:\d+$/)
    expect(readPolicyCases('cases.yaml', '- x', config).problems[0]!.hint).toContain('cases:')
    expect(readPolicyCases('cases.yaml', '', config).problems[0]!.message).toContain('cases is missing')
  })
})

describe('a case passes or fails', () => {
  it.each([
    '{ url: /, expect: { decision: allow, route: front, upstreamPath: / } }',
    '{ url: /bills, expect: { decision: token_missing, route: bills } }',
    '{ url: /bills, expect: { decision: 401 } }',
    '{ url: /bills, expect: { decision: refuse } }',
    '{ url: "/bills/7?x=1", principal: { role: billing }, expect: { decision: allow, upstreamPath: "/v2/bills/7?x=1", limits: [perUser] } }',
    '{ url: /bills, principal: { roles: [user, billing] }, expect: { decision: allow, upstream: "http://127.0.0.1:8" } }',
    '{ url: /bills, principal: { user: ann }, expect: { decision: allow } }',
    '{ url: /bills, principal: { role: user }, expect: { decision: forbidden } }',
    '{ url: /inside, from: 10.1.1.1, expect: { decision: allow } }',
    '{ url: /inside, from: 192.0.2.1, expect: { decision: forbidden } }',
    '{ url: /secure, principal: { role: billing }, expect: { decision: mfa_required } }',
    '{ url: /secure, principal: { role: billing, secondFactor: true }, expect: { decision: allow } }',
    '{ url: /secure, principal: { user: ann }, expect: { decision: allow } }',
    '{ url: /secure, principal: { user: ann, authAgeSeconds: 61 }, expect: { decision: reauthentication_required } }',
    '{ url: /auth/me, expect: { decision: own, route: null } }',
    '{ url: /x/../y, expect: { decision: target_ambiguous } }',
  ])('passes: %s', (text) => {
    expect(faults(text)).toEqual([])
  })

  it.each([
    ['{ url: /bills, expect: { decision: allow } }', 'decision: expected allow, got refuse 401 token_missing'],
    ['{ url: /, expect: { decision: refuse } }', 'decision: expected refuse, got allow'],
    ['{ url: /, expect: { decision: allow, route: bills } }', 'route: expected "bills", got "front"'],
    ['{ url: /bills, expect: { decision: 401, upstreamPath: /bills } }', 'upstreamPath: expected "/bills", got "/v2/bills"'],
    ['{ url: /, expect: { decision: allow, upstream: "http://other" } }', 'upstream: expected "http://other", got ["http://127.0.0.1:9"]'],
    ['{ url: /bills, principal: { role: billing }, expect: { decision: allow, limits: [] } }', 'limits: expected [], got ["perUser"]'],
    ['{ url: /inside, expect: { decision: allow } }', 'it depends on the address of the client; give the case an address in from'],
  ])('fails: %s', (text, fault) => {
    expect(faults(text).join('\n')).toContain(fault)
  })
})

it('JUnit counts the cases, and no text of a case is read as markup', () => {
  const all = results(
    ['  - { name: "<a> & \\"b\\"\\u0001", url: /bills, expect: { decision: allow } }', '  - { url: /, expect: { decision: allow } }'].join(
      '\n',
    ),
  )
  const xml = junitOf([{ file: 'a.yaml', results: all }])
  expect(xml).toContain('<testsuites name="portcullis policy test" tests="2" failures="1" errors="0">')
  expect(xml).toContain('<testcase classname="a.yaml" name="&lt;a&gt; &amp; &quot;b&quot;\ufffd">')
  expect(xml).toContain('name="GET /"/>')
  expect(xml).toContain('a.yaml')
  expect(xml.match(/<failure /g)).toHaveLength(1)
})
