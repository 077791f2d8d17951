import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matchTarget, readHost, readTarget, repeatedField, type Target } from '../../../src/proxy/routing/request-target.ts'
import { compileRoutes, FORMS } from '../../../src/proxy/routing/route-table.ts'
import { configWith, route } from '../../support/config.ts'

const table = compileRoutes(configWith({ routes: ['/', '/admin', '/admin/open', '/api', '/API/v1/Orders'].map((path) => route(path)) }))
const judge = (url: string) => {
  const target = readTarget(url)
  return typeof target === 'string' ? target : matchTarget(table, 'gateway.test', target)
}

describe('a target that has one reading', () => {
  it.each([
    ['/', '/', ''],
    ['/a/b.c', '/a/b.c', ''],
    ['/a/', '/a/', ''],
    ['/.well-known/x', '/.well-known/x', ''],
    ['/a..b/c', '/a..b/c', ''],
    ["/~a!$&'()*+,=:@-_", "/~a!$&'()*+,=:@-_", ''],
    ['/caf%C3%A9', '/caf%C3%A9', ''],
    ['/a%20b', '/a%20b', ''],
    ['/a?', '/a', '?'],
    ['/a?b=/../c//d;e%2f%00%zz\\?f', '/a', '?b=/../c//d;e%2f%00%zz\\?f'],
  ])('%s is taken as it is', (url, path, query) => {
    expect(readTarget(url)).toMatchObject({ path, query, folded: path.toLowerCase(), forms: 0 })
    expect(judge(url)).not.toBeTypeOf('string')
  })
})

describe('a target that is refused whatever the routes are', () => {
  it.each([
    ['', 'start with /'],
    ['*', 'start with /'],
    ['a', 'start with /'],
    ['?a', 'start with /'],
    ['http://gateway.test/a', 'start with /'],
    ['/a b', 'a blank'],
    ['/a\tb', 'a control'],
    ['/a\x00b', 'a control'],
    ['/a\x7fb', 'a control'],
    ['/caf\xe9', 'non-ASCII'],
    ['/a\\b', '\\'],
    ['/a#b', '#'],
    ['/a?b#c', 'in the query'],
    ['/a?b c', 'in the query'],
    ['/a?b\x01', 'in the query'],
    ['/a%', 'two hex digits'],
    ['/a%4', 'two hex digits'],
    ['/%zz', 'two hex digits'],
    ['/%u002e', 'two hex digits'],
    ['/a%00', 'encoded control'],
    ['/a%0A', 'encoded control'],
    ['/a%1f', 'encoded control'],
    ['/a%7F', 'encoded control'],
    ['/a%5cb', 'encoded \\'],
    ['/a%5Cb', 'encoded \\'],
    ['/%ff', 'no UTF-8'],
    ['/caf%E9', 'no UTF-8'],
    ['/a%ED%A0%80', 'no UTF-8'],
    ['/%f8%80%80%80%ae', 'overlong'],
    ['/%c0%ae%c0%ae/a', 'overlong'],
    ['/%C1%9c', 'overlong'],
    ['/%e0%80%af', 'overlong'],
    ['/%f0%80%80%ae', 'overlong'],
    ['/.', 'dot segment'],
    ['/..', 'dot segment'],
    ['/./a', 'dot segment'],
    ['/a/../b', 'dot segment'],
    ['/a/..', 'dot segment'],
    ['/a/.', 'dot segment'],
    ['/a/..?b', 'dot segment'],
  ])('%j: %s', (url, reason) => {
    expect(readTarget(url)).toContain(reason)
  })

  it.each([
    '/%2e/a',
    '/%2E%2e/a',
    '/.%2e/admin',
    '/a/%2e%2e',
    '/%252e%252e/a',
    '/a;/..;/admin',
    '/..;x=1/admin',
    '/a/%2e%2e%2fadmin',
    '/a//%2e',
    '/.%252e/a',
    '/api/..%20',
    '/api/.%20',
    '/api/..%2520',
    '/api/%25u002e%25U002E/x',
    '/api/%25252e%25252e/x',
    '/api/%E2%80%A5/x',
    '/api/x%EF%BC%8F..',
  ])('%s holds a dot segment in one of its readings', (url) => {
    expect(judge(url)).toContain('dot segment')
  })
})

describe('what is a control only once it is decoded twice', () => {
  it.each(['/%2509admin', '/admin%2500x', '/admin%250a', '/x%257f'])('%s is refused: servers cut or drop it', (url) => {
    expect(judge(url)).toBeTypeOf('string')
  })
})

describe('the same-route rule', () => {
  it.each([
    '/%61dmin',
    '/adm%69n/x',
    '/%2561dmin',
    '/admin%2fx',
    '/admin%252fx',
    '//admin',
    '/admin;x=1',
    '/;x/admin',
    '/admin/open%2f..',
    '/admin%20',
    '/admin.',
    '/admin./x',
    '/admin%2e/x',
    '/api//v1/orders',
    '/api/v1%2forders',
    '/api/v1;a/orders',
    '/admin/%6fpen',
    '//admin%20',
    '/%20/admin',
    '/%2Fadmin.',
    '/api/v1//orders%20',
    // a parameter goes before, or between, the decodings
    '/;a%2fb/%61dmin',
    '/;a%252fb/%61dmin',
    '/;a%252fb/%2561dmin',
    // `new URL(request.url, base)` takes what follows // for a host
    '//x/admin',
    '///x/admin',
    '/%2fx/admin',
    '/;/x/admin',
    // characters that become ASCII letters in another case or in a best-fit character set
    '/adm%C4%B1n',
    '/ADM%C4%B0N/x',
    '/%EF%BD%81dmin',
    '/%EF%BC%8Fadmin',
    '/%E2%88%95admin',
    '/admin%C2%A0',
    '/admin%E3%80%80/x',
    '/admin%25A0',
  ])('%s could be read as a path of another route, and is refused', (url) => {
    expect(judge(url)).toMatch(/another route|dot segment/)
  })

  it.each([
    ['/admin//x', '/admin', FORMS.doubleSlash],
    ['/admin/a;v=1', '/admin', FORMS.semicolon],
    ['/api/a%2Fb', '/api', FORMS.encodedSlash],
    ['/api/50%2525', '/api', FORMS.percent],
    ['/x//y;z/%2f', '', FORMS.doubleSlash | FORMS.semicolon | FORMS.encodedSlash],
  ])('%s stays on its route in every reading; its forms are reported, so that the route may refuse them', (url, node, forms) => {
    const target = readTarget(url) as Target
    expect(target.forms).toBe(forms)
    expect(matchTarget(table, 'gateway.test', target)).toMatchObject({ folded: node })
  })

  it.each([
    ['/api//x', true],
    ['/api/%2fx', true],
    ['/api/;/x', true],
    ['/api/x//y', false],
  ])('%s, whose prefix is rewritten to /: would begin with // upstream, where it could be a host: %s', (url, isRefused) => {
    const rewriting = compileRoutes(configWith({ routes: [route('/api', { rewrite: { prefix: '/' } })] }))
    const judged = matchTarget(rewriting, '', readTarget(url) as Target)
    if (isRefused) expect(judged).toContain('begin with //')
    else expect(judged).toMatchObject({ folded: '/api' })
  })

  it('a path made to have many readings is refused', () => {
    expect(judge(`/${';a%2f//b.%20%253b%255c%3f%EF%BD%81'.repeat(3)}`)).toBe('the path can be read in too many ways')
  })

  it.each([
    ['dots', '.'],
    ['blanks', '%20'],
    ['both, encoded twice', '%2520.'],
    ['anything', ';a%2f//b.%20%253b%255c%3f%EF%BD%81'],
  ])('8 KiB of %s cost milliseconds, whatever stands at their end', (_, unit) => {
    const long = `/${unit.repeat(8000 / unit.length)}%41`
    const before = process.cpuUsage()
    for (let i = 0; i < 20; i++) judge(long)
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 20_000).toBeLessThan(75)
  })

  /** What servers make of a path. */
  const steps: ((path: string) => string)[] = [
    (p) => p.toLowerCase(),
    (p) => p.replace(/\/{2,}/g, '/'),
    (p) => p.replace(/;[^/]*/g, ''),
    (p) => p.replaceAll('\\', '/'),
    (p) => p.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    // path-readings.test.ts has a reader that takes `//host` for a host
    // a server that decodes first reads the rest as a query
    (p) => new URL(`http://upstream.test${p}`).pathname,
  ]
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('admin', 'open', 'api', 'v1', 'Orders', 'ADMIN', 'x', '') },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        '.',
        '..',
        ';',
        ';x',
        '%2e',
        '%2F',
        '%5c',
        '\\',
        '%61',
        '%2561',
        '%252e',
        '%25',
        '%3b',
        '%3f',
        '%23',
        '%20',
        '%3B',
        '%C3%A9',
      ),
    },
    { weight: 1, arbitrary: fc.string({ maxLength: 3 }) },
  )
  const path = fc
    .array(
      fc.array(piece, { maxLength: 3 }).map((p) => p.join('')),
      { minLength: 1, maxLength: 5 },
    )
    .map((s) => `/${s.join('/')}`)

  it('lets no path through of which some server reads another node of the table', () => {
    fc.assert(
      fc.property(path, fc.array(fc.constantFrom(...steps), { maxLength: 4 }), (url, reading) => {
        const node = judge(url)
        if (typeof node === 'string') return
        const read = reading.reduce((p, step) => step(p), url.split('?')[0]!)
        const decodings = reading.filter((step) => step === steps[4]).length
        fc.pre(decodings <= 2)
        expect(table.find('gateway.test', read.toLowerCase())?.folded, `${url} read as ${read}`).toBe(node?.folded)
      }),
      { numRuns: 20_000 },
    )
  })

  it('lets ordinary paths through', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[A-Za-z0-9_-]{1,8}$/), { maxLength: 5 }), (segments) => {
        expect(judge(`/${segments.join('/')}`)).not.toBeTypeOf('string')
      }),
    )
  })
})

describe('Host', () => {
  it.each([
    ['example.com', 'example.com'],
    ['API.Example.com:8080', 'api.example.com'],
    ['example.com.', 'example.com'],
    ['example.com.:80', 'example.com'],
    ['127.0.0.1:80', '127.0.0.1'],
    ['[::1]:8080', '[::1]'],
    ['my_service', 'my_service'],
  ])('%s is %s', (value, host) => {
    expect(readHost(value)).toBe(host)
  })

  it.each([
    undefined,
    '',
    ' ',
    'a b',
    'a,b',
    'a/b',
    'a?b',
    'user@a',
    'a\\b',
    'a:',
    'a:b',
    'a:123456',
    'a:80:80',
    'a..',
    '-a',
    '.a',
    '[::1',
    '::1',
    'a%2e',
    'h\xf6st',
    'http://a',
  ])('%j is refused', (value) => {
    expect(readHost(value)).toBeNull()
  })
})

describe('repeated fields', () => {
  it.each([
    'Host',
    'Authorization',
    'Content-Length',
    'Transfer-Encoding',
    'Content-Type',
    'Expect',
  ])('a second %s in any case is found, one is not', (name) => {
    expect(repeatedField([name, 'a', 'Accept', 'b', name.toUpperCase(), 'a'])).toBe(name.toLowerCase())
    expect(repeatedField([name, 'a', 'Accept', 'b', 'Accept', 'c', 'Cookie', 'd', 'Cookie', 'e'])).toBeNull()
  })
})
