/** What `check` says about settings for browsers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError, type Loaded, loadConfig } from '../../../src/app/load-config.ts'
import { isPublicSuffix, isSameSite } from '../../../src/identity/access/site.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-browser-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let written = 0
const fileWith = (content: string | Buffer, extension = 'json') => {
  const file = join(dir, `${written++}.${extension}`)
  writeFileSync(file, content)
  return file
}

interface Given {
  publicUrl?: string
  server?: object
  browser?: object
  routes?: object[]
  rest?: object
}

const route = (part: object = {}) => ({
  name: 'shop',
  match: { path: '/shop' },
  upstream: ['http://127.0.0.1:9'],
  access: 'authenticated',
  ...part,
})

const load = ({ publicUrl = 'https://api.example.com', server, browser = {}, routes = [route()], rest = {} }: Given): Loaded =>
  loadConfig({
    file: fileWith(JSON.stringify({ server: { publicUrl, ...server }, auth: { browser: { enabled: true, ...browser } }, routes, ...rest })),
    env: {},
    needSecrets: false,
  })

const short = ({ path, message }: { path: string; message: string }) => `${path}: ${message}`

function problems(given: Given): string[] {
  try {
    load(given)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(short)
  }
}
const warnings = (given: Given) => load(given).warnings.map(short)

test('a gateway over https, without further settings, has nothing to report', () => {
  expect(problems({})).toEqual([])
  expect(warnings({})).toEqual([])
  for (const host of ['localhost', '127.0.0.1', '[::1]']) expect(warnings({ publicUrl: `http://${host}:8080` })).toEqual([])
})

describe('plain http', () => {
  test('that is not on this machine: no cookie, and the reason', () => {
    expect(warnings({ publicUrl: 'http://api.example.com' })).toEqual([
      'auth.browser.enabled: browsers get no session cookie from http://api.example.com, and cannot log in: plain http protects no cookie, except on localhost',
    ])
    expect(warnings({ publicUrl: 'http://localhost.example.com' })).toHaveLength(1)
    expect(warnings({ publicUrl: 'http://127.0.0.1.example.com' })).toHaveLength(1)
  })

  test('behind a balancer that ends TLS', () => {
    expect(warnings({ publicUrl: 'http://api.example.com', server: { trustedProxies: ['10.0.0.0/8'] } })).toEqual([
      'auth.browser.enabled: server.publicUrl is http://api.example.com: over plain http browsers get no session cookie, except from localhost',
    ])
  })
})

describe('cookieDomain', () => {
  const at = (cookieDomain: string, publicUrl = 'https://login.example.com') => problems({ publicUrl, browser: { cookieDomain } })

  test.each([
    ['example.com', 'https://login.example.com'],
    ['login.example.com', 'https://login.example.com'],
    ['example.co.uk', 'https://login.example.co.uk'],
    ['b.example.com', 'https://a.b.example.com:8443'],
  ])('%s for %s: allowed, with a warning', (cookieDomain, publicUrl) => {
    expect(at(cookieDomain, publicUrl)).toEqual([])
    expect(warnings({ publicUrl, browser: { cookieDomain } })).toEqual([
      `auth.browser.cookieDomain: every host below ${cookieDomain} receives the session cookie, and can replace it with the session of another account`,
    ])
  })

  test.each(['co.uk', 'com.au', 'co.jp', 'org.nz', 'github.io', 'herokuapp.com', 'vercel.app'])('%s has many owners', (cookieDomain) => {
    expect(at(cookieDomain, `https://shop.${cookieDomain}`)).toEqual([
      `auth.browser.cookieDomain: ${cookieDomain} belongs to many owners, so browsers refuse such a cookie`,
    ])
  })

  test.each([
    'com',
    'localhost',
    '.example.com',
    'Example.com',
    'example.com.',
    'https://example.com',
    'exa_mple.com',
    '',
  ])('%j has the wrong form', (cookieDomain) => {
    expect(at(cookieDomain)).toHaveLength(1)
    expect(at(cookieDomain)[0]).toMatch(/^auth\.browser\.cookieDomain: has the wrong form/)
  })

  test.each(['other.com', 'x.login.example.com', 'ample.com', 'app.example.com'])('%s is not a domain above the host', (cookieDomain) => {
    expect(at(cookieDomain)).toEqual([
      'auth.browser.cookieDomain: must be login.example.com, the host of server.publicUrl, or a domain above it',
    ])
  })

  test('an address has no subdomains', () => {
    expect(at('10.0.0.1', 'https://10.0.0.1')).toEqual([
      'auth.browser.cookieDomain: must be a domain: cookies of an address belong to that address alone',
    ])
  })

  test('needs https', () => {
    expect(at('gw.localhost', 'http://gw.localhost:8080')).toEqual([
      'auth.browser.cookieDomain: needs a server.publicUrl of https: a cookie for several hosts is never sent over plain http',
    ])
  })
})

describe('origins', () => {
  const at = (origin: string, publicUrl = 'https://api.example.com', more: Given = {}) =>
    problems({ publicUrl, ...more, browser: { origins: [origin] } })

  test.each([
    ['https://app.example.com', 'https://api.example.com'],
    ['https://example.com', 'https://api.example.com'],
    ['https://app.example.com', 'https://example.com'],
    ['https://a.b.c.example.com:8443', 'https://api.example.com'],
    ['https://api.example.com:9000', 'https://api.example.com'],
    ['https://app.example.co.uk', 'https://api.example.co.uk'],
    ['https://APP.example.com', 'https://api.example.com'],
    ['http://localhost:5173', 'http://localhost:8080'],
    ['http://127.0.0.1:5173', 'http://127.0.0.1:8080'],
    ['http://[::1]:5173', 'http://[::1]:8080'],
    ['https://10.0.0.1:5173', 'https://10.0.0.1'],
  ])('%s is of the site of %s', (origin, publicUrl) => {
    expect(at(origin, publicUrl)).toEqual([])
  })

  test.each([
    ['https://app.example.org', 'https://api.example.com'],
    ['https://evil-example.com', 'https://api.example.com'],
    ['https://example.com.evil.org', 'https://api.example.com'],
    ['https://app.com', 'https://api.com'],
    ['https://shop.co.uk', 'https://api.co.uk'],
    ['https://shop.com.au', 'https://api.com.au'],
    ['https://mine.github.io', 'https://yours.github.io'],
    ['https://mine.herokuapp.com', 'https://yours.herokuapp.com'],
    ['http://localhost:5173', 'https://api.example.com'],
    ['http://127.0.0.1:5173', 'http://localhost:8080'],
    ['http://app.localhost:5173', 'http://gw.localhost:8080'],
    ['https://10.0.0.2', 'https://10.0.0.1'],
  ])('%s is of another site than %s', (origin, publicUrl) => {
    const host = new URL(publicUrl).hostname
    expect(at(origin, publicUrl)).toEqual([
      `auth.browser.origins[0]: ${origin} is of another site than ${host}, so that browsers do not send the session cookie from its pages`,
    ])
  })

  test('says what to do instead', () => {
    const hint = (origin: string) => {
      try {
        load({ browser: { origins: [origin] } })
        return undefined
      } catch (error) {
        return (error as ConfigError).problems[0]!.hint
      }
    }
    expect(hint('https://app.example.org')).toBe('remove it here: its pages use access tokens, and cors.origins lets them read the answers')
    expect(hint('http://localhost:5173')).toBe('for development, set server.publicUrl to http://localhost and the port of the gateway')
  })

  test('another scheme is another site', () => {
    expect(at('http://app.example.com')).toEqual([
      'auth.browser.origins[0]: must begin with https:// as server.publicUrl does: to browsers, http:// is another site',
    ])
    expect(at('https://localhost:5173', 'http://localhost:8080')).toHaveLength(1)
  })

  test('the hosts of routes count, too', () => {
    const routes = [route({ match: { path: '/shop', host: 'api.example.org' } })]
    expect(at('https://app.example.org', 'https://api.example.com', { routes })).toEqual([])
    expect(at('https://app.example.net', 'https://api.example.com', { routes })).toHaveLength(1)
  })

  test.each([
    'https://app.example.com/',
    'https://app.example.com/path',
    'app.example.com',
    '*',
    'null',
    'https://*.example.com',
    'https://user@app.example.com',
  ])('%s has the wrong form', (origin) => {
    expect(at(origin)[0]).toMatch(/^auth\.browser\.origins\[0\]: has the wrong form/)
  })

  test('a port that does not exist', () => {
    expect(at('https://app.example.com:99999')[0]).toMatch(/^auth\.browser\.origins\[0\]: must be an origin such as/)
  })
})

describe('CORS', () => {
  const browser = { origins: ['https://app.example.com'] }

  test('the upstream cannot decide about these origins', () => {
    const message = 'conflicts with auth.browser.origins, whose pages the gateway lets in itself'
    expect(problems({ browser, rest: { cors: { mode: 'upstream' } } })).toEqual([`cors.mode: ${message}`])
    expect(problems({ browser, routes: [route({ cors: { mode: 'upstream' } })] })).toEqual([`routes[0].cors.mode: ${message}`])
    expect(problems({ browser, routes: [route({ cors: { mode: 'own' } })], rest: { cors: { mode: 'own' } } })).toEqual([])
    expect(problems({ rest: { cors: { mode: 'upstream' } } })).toEqual([])
  })

  test('the mode own lets these origins in, so that it has an effect', () => {
    expect(warnings({ browser, rest: { cors: { mode: 'own' } } })).toEqual([])
    expect(warnings({ rest: { cors: { mode: 'own' } } })).toEqual(['cors.mode: lets no page of another origin in: cors.origins is empty'])
  })

  test('credentials from pages that are not listed do not include the session', () => {
    const cors = { origins: ['https://app.example.com', 'https://other.example.org'], credentials: true }
    expect(warnings({ browser, rest: { cors } })).toEqual([
      'cors.credentials: the session cookie does not count for pages of https://other.example.org',
    ])
    expect(warnings({ browser, rest: { cors: { ...cors, credentials: false } } })).toEqual([])
  })
})

describe('the public console', () => {
  const at = (routes: object[], browser: object = {}) => problems({ browser: { console: 'public', ...browser }, routes })
  const served = (host: string) => `auth.browser.console: public needs a host that no route serves, but route shop serves ${host}`

  test('needs a host without routes', () => {
    expect(at([route()])).toEqual([served('every host')])
    expect(at([route({ match: { path: '/shop', host: 'api.example.com' } })])).toEqual([served('api.example.com')])
    expect(at([route({ match: { path: '/shop', host: 'API.example.com' } })])).toEqual([served('API.example.com')])
    expect(at([route({ match: { path: '/shop', host: 'console.example.com' } })], { consoleHosts: ['console.example.com'] })).toEqual([
      served('console.example.com'),
    ])
    expect(at([route({ match: { path: '/shop', host: 'shop.example.com' } })])).toEqual([])
    expect(at([])).toEqual([])
  })

  test('on the admin listener any route is allowed', () => {
    expect(problems({ browser: { console: 'admin' } })).toEqual([])
    expect(problems({ browser: { console: 'off' } })).toEqual([])
  })
})

describe('languages', () => {
  test('each needs texts', () => {
    expect(problems({ browser: { languages: ['en', 'fr'] } })).toEqual(['auth.browser.languages[1]: there are no texts for fr'])
    expect(problems({ browser: { languages: ['de'] } })).toEqual([])
  })

  test('texts of a language that is not listed have no effect', () => {
    expect(warnings({ browser: { texts: { fr: fileWith('', 'yaml') } } })).toEqual(['auth.browser.texts.fr: has no effect'])
  })
})

describe('service workers', () => {
  const at = (path: string, prefix = '/auth') =>
    loadConfig({
      file: fileWith(
        JSON.stringify({
          server: { publicUrl: 'https://api.example.com' },
          auth: { prefix, browser: { enabled: true } },
          routes: [route({ match: { path }, serviceWorker: true })],
        }),
      ),
      env: {},
      needSecrets: false,
    }).warnings.map(short)

  test('a script in the folder of the route could control our pages', () => {
    const warning = (folder: string, prefix: string) =>
      `routes[0].serviceWorker: scripts directly below ${folder} are still refused: they would control the pages below ${prefix}`
    expect(at('/')).toEqual([warning('/', '/auth')])
    expect(at('/api', '/api/auth')).toEqual([warning('/api/', '/api/auth')])
    expect(at('/shop')).toEqual([])
    expect(at('/api', '/apiauth')).toEqual([])
  })
})

describe('settings without an effect while browsers are off', () => {
  test.each<[string, Given]>([
    ['auth.browser.origins', { browser: { enabled: false, origins: ['https://app.example.org'] } }],
    ['auth.browser.cookieDomain', { browser: { enabled: false, cookieDomain: 'example.org' } }],
    ['routes[0].browser.safeMethods', { browser: { enabled: false }, routes: [route({ browser: { safeMethods: 'strict' } })] }],
    ['routes[0].serviceWorker', { browser: { enabled: false }, routes: [route({ serviceWorker: true })] }],
  ])('%s', (path, given) => {
    expect(warnings(given)).toEqual([expect.stringMatching(new RegExp(`^${path.replace(/[[\].]/g, '\\$&')}: has no effect`))])
    expect(warnings({ ...given, browser: { enabled: false, languages: ['fr'] } }).filter((text) => text.includes('texts for'))).toEqual([])
  })
})

describe('limits', () => {
  const limitsOf = (browser: object, policies?: object) =>
    Object.fromEntries(
      Object.entries(load({ browser, rest: policies ? { limits: { policies } } : {} }).config.limits.policies).map(([name, { limit }]) => [
        name,
        limit,
      ]),
    )

  test('pages load many files: the default limits are higher', () => {
    expect(limitsOf({ enabled: false })).toEqual({ perIp: 60, perUser: 600 })
    expect(limitsOf({ enabled: true })).toEqual({ perIp: 600, perUser: 3000 })
  })

  test('unless the operator defines the policies', () => {
    const perIp = { limit: 60, windowSeconds: 60, key: 'anonymous' }
    expect(limitsOf({ enabled: true }, { perIp })).toEqual({ perIp: 60, perUser: 3000 })
    expect(limitsOf({ enabled: true }, { other: perIp })).toEqual({ perIp: 600, perUser: 3000, other: 60 })
  })
})

describe('files of the brand', () => {
  const PNG = Buffer.from('89504e470d0a1a0a0000', 'hex')
  const SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'
  const at = (brand: object) => problems({ browser: { brand } })

  test('are read before the start', () => {
    expect(at({ logo: fileWith(SVG, 'svg'), css: fileWith('a { color: red }', 'css') })).toEqual([])
    expect(at({ logo: fileWith(PNG, 'png') })).toEqual([])
    expect(at({ logo: fileWith(PNG, 'PNG'), css: fileWith('', 'CSS') })).toEqual([])
  })

  test('of another type', () => {
    const gif = fileWith('GIF89a', 'gif')
    expect(at({ logo: gif })).toEqual([`auth.browser.brand.logo: ${gif} has another type`])
    const html = fileWith('<b>', 'html')
    expect(at({ css: html })).toEqual([`auth.browser.brand.css: ${html} has another type`])
  })

  test('with another content', () => {
    const png = fileWith(SVG, 'png')
    const svg = fileWith(PNG, 'svg')
    const css = fileWith(Buffer.from([0xff, 0xfe, 0x00]), 'css')
    expect(at({ logo: png })).toEqual([`auth.browser.brand.logo: ${png} does not hold a PNG`])
    expect(at({ logo: svg })).toEqual([`auth.browser.brand.logo: ${svg} does not hold an SVG`])
    expect(at({ css })).toEqual([`auth.browser.brand.css: ${css} does not hold a style sheet`])
  })

  test('too large', () => {
    const css = fileWith('a'.repeat(16_385), 'css')
    expect(at({ css })).toEqual([`auth.browser.brand.css: ${css} has 16385 bytes`])
    expect(at({ css: fileWith('a'.repeat(16_384), 'css') })).toEqual([])
  })

  test('a folder, and a file that is not on this machine', () => {
    expect(at({ css: dir })).toEqual([`auth.browser.brand.css: ${dir} has another type`])
    const file = join(dir, 'nowhere.svg')
    expect(load({ browser: { brand: { logo: file } } }).absentFiles.map(short)).toEqual([
      `auth.browser.brand.logo: there is no ${file} on this machine`,
    ])
  })
})

describe('sites', () => {
  test.each(['com', 'co.uk', 'com.br', 'org.au', 'ac.jp', 'github.io', 'up.railway.app'])('%s is a public suffix', (domain) => {
    expect(isPublicSuffix(domain)).toBe(true)
  })

  test.each(['example.com', 'co.example.com', 'example.co.uk', 'uk.com', 'mine.github.io', 'example.de'])('%s is not', (domain) => {
    expect(isPublicSuffix(domain)).toBe(false)
  })

  test('is symmetric', () => {
    for (const [a, b] of [
      ['a.example.com', 'b.example.com'],
      ['a.example.com', 'example.com'],
      ['a.co.uk', 'b.co.uk'],
      ['example.com', 'example.org'],
    ] as const)
      expect(isSameSite(a, b)).toBe(isSameSite(b, a))
  })
})
