import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createCrossSite } from '../../../src/identity/access/cross-site.ts'
import { createClientReader, parseNetworks } from '../../../src/platform/request/client-address.ts'

interface Asked {
  method?: string
  headers?: IncomingHttpHeaders
  isUpgrade?: boolean
  isStrict?: boolean
  isEncrypted?: boolean
  peer?: string
}

interface Settings {
  publicUrl?: string
  origins?: string[]
  forwardedBy?: 'x-forwarded' | 'forwarded'
}

const HOST = 'api.example.com'
const OWN = `https://${HOST}`
const LISTED = 'https://app.example.com'
const PROXY = '10.0.0.1'

/** @returns what the rule says of a request: `counts`, `ignored`, or the code of the refusal */
function ruleOf({ publicUrl = OWN, origins = [LISTED], forwardedBy = 'x-forwarded' }: Settings = {}) {
  const crossSite = createCrossSite({ server: { publicUrl, forwardedBy }, auth: { browser: { origins } } })
  const readClient = createClientReader(parseNetworks([PROXY])!, parseNetworks([])!, forwardedBy)
  const outcome = (decide: () => boolean): string => {
    try {
      return decide() ? 'counts' : 'ignored'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  const read = ({ method = 'GET', headers = {}, isEncrypted = false, peer = '192.0.2.1' }: Asked) => {
    const socket = { remoteAddress: peer, encrypted: isEncrypted }
    const request = { method, headers: { host: HOST, ...headers }, socket } as unknown as IncomingMessage
    return { request, client: readClient(request) }
  }
  return {
    judge(asked: Asked): string {
      const { request, client } = read(asked)
      return outcome(() => crossSite.admitsCookie(request, client, asked.isUpgrade ?? false, asked.isStrict ?? false))
    },
    post(asked: Asked): string {
      const { request, client } = read({ method: 'POST', ...asked })
      return outcome(() => {
        crossSite.requireTrustedOrigin(request, client)
        return true
      })
    },
    ownOrigin(asked: Asked): string | null {
      const { request, client } = read(asked)
      return crossSite.ownOrigin(request, client)
    },
    isSecure: (asked: Asked) => crossSite.isSecure(read(asked).client),
  }
}

/** Header fields of each kind; undefined: the field is not sent. Node joins the values of a repeated field. */
const SITES = [undefined, 'same-origin', 'none', 'same-site', 'cross-site', '', 'Same-Origin', 'same-origin, cross-site']
const MODES = [undefined, 'navigate', 'cors', 'no-cors', 'websocket', 'navigate, navigate']
const DESTS = [undefined, 'document', 'empty', 'iframe', 'object', 'image']
const ORIGINS = [
  undefined,
  OWN,
  LISTED,
  'null',
  '',
  'https://evil.example',
  'https://evil.api.example.com',
  'https://api.example.com.evil.example',
  'https://api.example.com:8443',
  'http://api.example.com',
  'HTTPS://API.EXAMPLE.COM',
  `${OWN}, ${OWN}`,
  `${OWN}/`,
]
const REFERERS = [undefined, `${OWN}/page`, `${LISTED}/page?x=1`, `https://evil.example/?${LISTED}`, 'about:blank']
const SAFE = ['GET', 'HEAD', 'OPTIONS']
const UNSAFE = ['POST', 'PUT', 'DELETE', 'PROPFIND', 'QUERY', 'BREW', 'get']

const fields = (list: Record<string, string | undefined>): IncomingHttpHeaders =>
  Object.fromEntries(Object.entries(list).filter(([, value]) => value !== undefined))

interface Row {
  site: string | undefined
  mode: string | undefined
  dest: string | undefined
  origin: string | undefined
  referer: string | undefined
}

function* rows(): Generator<[Row, IncomingHttpHeaders]> {
  for (const site of SITES)
    for (const mode of MODES)
      for (const dest of DESTS)
        for (const origin of ORIGINS)
          for (const referer of REFERERS) {
            const headers = fields({ 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest, origin, referer })
            yield [{ site, mode, dest, origin, referer }, headers]
          }
}

/** Compares the whole table in one go: a failure names the rows that differ. */
function expectTable(actual: (headers: IncomingHttpHeaders) => string, wanted: (row: Row) => string): void {
  const wrong: string[] = []
  let count = 0
  for (const [row, headers] of rows()) {
    count++
    const [is, ought] = [actual(headers), wanted(row)]
    if (is !== ought) wrong.push(`${JSON.stringify(row)}: ${is}, not ${ought}`)
  }
  expect(wrong.slice(0, 5)).toEqual([])
  expect(count).toBe(SITES.length * MODES.length * DESTS.length * ORIGINS.length * REFERERS.length)
}

const isOwnSite = ({ site }: Row) => site === 'same-origin' || site === 'none'
const isNavigation = ({ mode, dest }: Row) => mode === 'navigate' && (dest === 'document' || dest === 'empty')
const comesFromListed = ({ origin, referer }: Row) => (origin === undefined ? referer === `${LISTED}/page?x=1` : origin === LISTED)

describe('the table of Fetch Metadata, Origin and Referer', () => {
  const rule = ruleOf()

  test.each(SAFE)('%s: our own pages, navigations, listed pages and programs pass; for all others the cookie is not sent', (method) => {
    const passes = (row: Row) => isOwnSite(row) || row.site === undefined || isNavigation(row) || comesFromListed(row)
    expectTable(
      (headers) => rule.judge({ method, headers }),
      (row) => (passes(row) ? 'counts' : 'ignored'),
    )
  })

  test.each(SAFE)('%s on a strict route: navigations of other sites, programs and a Referer are not enough', (method) => {
    const passes = (row: Row) => isOwnSite(row) || row.origin === OWN || row.origin === LISTED
    expectTable(
      (headers) => rule.judge({ method, headers, isStrict: true }),
      (row) => (passes(row) ? 'counts' : 'ignored'),
    )
  })

  const mayWrite = (row: Row) => (isOwnSite(row) || row.origin === OWN || row.origin === LISTED ? 'counts' : 'origin_untrusted')

  test.each(UNSAFE)('%s needs a page of our own or of a listed origin', (method) => {
    for (const isStrict of [false, true]) expectTable((headers) => rule.judge({ method, headers, isStrict }), mayWrite)
  })

  test.each([...SAFE, 'POST'])('%s with an upgrade needs what a POST needs', (method) => {
    expectTable((headers) => rule.judge({ method, headers, isUpgrade: true }), mayWrite)
  })

  test('a form of a page needs what a POST needs', () => {
    expectTable((headers) => rule.post({ headers }), mayWrite)
  })
})

describe('attacks', () => {
  const rule = ruleOf()
  const EVIL = 'https://evil.example'

  test.each<[string, Asked, string]>([
    ['a form that another site posts', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site', origin: EVIL } }, 'origin_untrusted'],
    [
      'a form that a subdomain posts',
      { method: 'POST', headers: { 'sec-fetch-site': 'same-site', origin: 'https://x.example.com' } },
      'origin_untrusted',
    ],
    ['a form under no-referrer', { method: 'POST', headers: { 'sec-fetch-site': 'cross-site', origin: 'null' } }, 'origin_untrusted'],
    ['a sandboxed frame', { method: 'POST', headers: { origin: 'null' } }, 'origin_untrusted'],
    ['a POST without any sign', { method: 'POST', headers: {} }, 'origin_untrusted'],
    ['a POST with a Referer of our own', { method: 'POST', headers: { referer: `${OWN}/x` } }, 'origin_untrusted'],
    ['a WebSocket of another site', { isUpgrade: true, headers: { origin: EVIL } }, 'origin_untrusted'],
    ['a WebSocket without Origin', { isUpgrade: true, headers: {} }, 'origin_untrusted'],
    ['an image', { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' } }, 'ignored'],
    ['a frame', { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' } }, 'ignored'],
    [
      'a fetch',
      { headers: { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', origin: EVIL } },
      'ignored',
    ],
    [
      'an image of our own page, which another site redirects to us',
      { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image', referer: `${OWN}/page` } },
      'ignored',
    ],
    [
      'a link of our own page, which another site redirects to a strict route',
      {
        isStrict: true,
        headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', referer: `${OWN}/` },
      },
      'ignored',
    ],
  ])('%s', (_, asked, wanted) => {
    expect(rule.judge(asked)).toBe(wanted)
  })

  test.each<[string, Asked]>([
    ['a link on another site', { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' } }],
    [
      'a navigation that a service worker passes on',
      { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'empty' } },
    ],
    [
      'an address that the user typed',
      { isStrict: true, headers: { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' } },
    ],
    ['a fetch of our own page', { method: 'DELETE', headers: { 'sec-fetch-site': 'same-origin', origin: OWN } }],
    ['a POST of a browser without Fetch Metadata', { method: 'POST', headers: { origin: OWN } }],
    ['a POST of a listed page', { method: 'POST', headers: { 'sec-fetch-site': 'same-site', origin: LISTED } }],
    ['a WebSocket of our own page', { isUpgrade: true, headers: { origin: OWN } }],
    ['a WebSocket of a listed page', { isUpgrade: true, headers: { origin: LISTED } }],
    [
      'an image on a listed page',
      { headers: { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image', referer: `${LISTED}/` } },
    ],
  ])('allowed: %s', (_, asked) => {
    expect(rule.judge(asked)).toBe('counts')
  })

  test('a refusal names both headers for the log', () => {
    const crossSite = createCrossSite({ server: { publicUrl: OWN, forwardedBy: 'x-forwarded' }, auth: { browser: { origins: [] } } })
    const request = { method: 'POST', headers: { host: HOST, origin: EVIL } } as unknown as IncomingMessage
    const client = createClientReader(parseNetworks([])!, parseNetworks([])!)({ ...request, socket: { remoteAddress: '::1' } } as never)
    expect(() => crossSite.requireTrustedOrigin(request, client)).toThrow(
      expect.objectContaining({ cause: `Sec-Fetch-Site none sent, Origin ${EVIL}` }),
    )
  })
})

describe('our own origin', () => {
  const xf = (host: string, more: IncomingHttpHeaders = {}): Asked => ({
    peer: PROXY,
    headers: { host: 'gateway:8080', 'x-forwarded-for': '192.0.2.7', 'x-forwarded-host': host, ...more },
  })

  test.each<[string, Settings, Asked, string | null]>([
    ['Host over TLS', { publicUrl: 'http://localhost:8080' }, { isEncrypted: true }, OWN],
    ['Host over plain http', { publicUrl: 'http://localhost:8080' }, {}, `http://${HOST}`],
    ['a publicUrl of https makes it https', { publicUrl: 'https://gateway.example' }, {}, OWN],
    ['with its port', {}, { headers: { host: `${HOST}:8443` } }, `${OWN}:8443`],
    ['without the default port', {}, { headers: { host: `${HOST}:443` } }, OWN],
    ['the default port of the other scheme stays', {}, { headers: { host: `${HOST}:80` } }, `${OWN}:80`],
    ['in lower case', {}, { headers: { host: 'API.Example.COM' } }, OWN],
    ['an IPv6 address', { publicUrl: 'http://[::1]:8080' }, { headers: { host: '[::1]:8080' } }, 'http://[::1]:8080'],
    ['without a Host', {}, { headers: { host: '' } }, null],
    ['X-Forwarded-Host of a client is not believed', {}, { headers: { host: HOST, 'x-forwarded-host': 'evil.example' } }, OWN],
    [
      'X-Forwarded-Proto of a client is not believed',
      { publicUrl: 'http://x.test' },
      { headers: { 'x-forwarded-proto': 'https' } },
      `http://${HOST}`,
    ],
    ['X-Forwarded-Host of a trusted proxy', {}, xf('shop.example.com'), 'https://shop.example.com'],
    ['the last X-Forwarded-Host', {}, xf('evil.example, shop.example.com'), 'https://shop.example.com'],
    ['X-Forwarded-Host with a port', {}, xf('shop.example.com:8443'), 'https://shop.example.com:8443'],
    ['X-Forwarded-Port apart', {}, xf('shop.example.com', { 'x-forwarded-port': '8443' }), 'https://shop.example.com:8443'],
    ['the port of the host goes first', {}, xf('shop.example.com:1234', { 'x-forwarded-port': '8443' }), 'https://shop.example.com:1234'],
    ['X-Forwarded-Port of the other scheme', {}, xf('shop.example.com', { 'x-forwarded-port': '80' }), 'https://shop.example.com'],
    ['a malformed X-Forwarded-Port', {}, xf('shop.example.com', { 'x-forwarded-port': '8443@evil' }), 'https://shop.example.com'],
    [
      'X-Forwarded-Proto of a trusted proxy',
      { publicUrl: 'http://localhost:8080' },
      xf('shop.example.com', { 'x-forwarded-proto': 'https' }),
      'https://shop.example.com',
    ],
    [
      'plain http before a trusted proxy',
      { publicUrl: 'http://localhost:8080' },
      xf('shop.example.com', { 'x-forwarded-proto': 'http', 'x-forwarded-port': '443' }),
      'http://shop.example.com',
    ],
    ['the Host that a proxy passes on', {}, { peer: PROXY, headers: { host: HOST, 'x-forwarded-for': '192.0.2.7' } }, OWN],
    ['a host with a path is none', {}, xf('shop.example.com/evil'), null],
    ['a host with a user is none', {}, xf('user@shop.example.com'), null],
    ['a host with a fragment is none', {}, xf('shop.example.com#x'), null],
    [
      'Forwarded of a trusted proxy',
      { forwardedBy: 'forwarded', publicUrl: 'http://localhost' },
      { peer: PROXY, headers: { host: 'gateway:8080', forwarded: 'for=192.0.2.7;host="shop.example.com:8443";proto=https' } },
      'https://shop.example.com:8443',
    ],
    [
      'the last element of Forwarded',
      { forwardedBy: 'forwarded' },
      { peer: PROXY, headers: { host: 'gateway:8080', forwarded: 'for=192.0.2.6;host=evil.example, for=192.0.2.7;host=shop.example.com' } },
      'https://shop.example.com',
    ],
    [
      'X-Forwarded-Host where proxies set Forwarded',
      { forwardedBy: 'forwarded' },
      { peer: PROXY, headers: { host: HOST, forwarded: 'for=192.0.2.7', 'x-forwarded-host': 'evil.example', 'x-forwarded-port': '1' } },
      OWN,
    ],
    ['Forwarded of a client', { forwardedBy: 'forwarded' }, { headers: { host: HOST, forwarded: 'host=evil.example' } }, OWN],
  ])('%s', (_, settings, asked, wanted) => {
    const rule = ruleOf(settings)
    expect(rule.ownOrigin(asked)).toBe(wanted)
    if (wanted === null) return
    // a write is admitted from this origin, and from no other
    const from = (origin: string) => rule.judge({ ...asked, method: 'POST', headers: { ...asked.headers, origin } })
    expect(from(wanted)).toBe('counts')
    for (const other of ['null', 'https://evil.example', `${wanted}1`, wanted.replace(/^https?/, (s) => (s === 'http' ? 'https' : 'http'))])
      expect([other, from(other)]).toEqual([other, 'origin_untrusted'])
  })

  test('a proxy that hides the public port: publicUrl names it', () => {
    const rule = ruleOf({ publicUrl: 'https://shop.example.com:8443', origins: [] })
    const from = (asked: Asked, origin: string) => rule.judge({ ...asked, method: 'POST', headers: { ...asked.headers, origin } })
    expect(from(xf('shop.example.com'), 'https://shop.example.com:8443')).toBe('counts')
    expect(from(xf('other.example.com'), 'https://shop.example.com:8443')).toBe('origin_untrusted')
    // without a proxy the Host is what the browser asked for
    expect(from({ headers: { host: 'shop.example.com' } }, 'https://shop.example.com:8443')).toBe('origin_untrusted')
  })

  test('another gateway on another port of localhost is another origin', () => {
    const rule = ruleOf({ publicUrl: 'http://localhost:8080', origins: ['http://localhost:5173'] })
    const from = (origin: string) => rule.judge({ method: 'POST', headers: { host: 'localhost:8080', origin } })
    expect(from('http://localhost:8080')).toBe('counts')
    expect(from('http://localhost:5173')).toBe('counts')
    expect(from('http://localhost:3000')).toBe('origin_untrusted')
    expect(from('http://127.0.0.1:8080')).toBe('origin_untrusted')
  })

  test('without a host only Fetch Metadata and the list count', () => {
    const rule = ruleOf()
    expect(rule.judge({ method: 'POST', headers: { host: '', origin: OWN } })).toBe('origin_untrusted')
    expect(rule.judge({ method: 'POST', headers: { host: '', origin: LISTED } })).toBe('counts')
  })

  test('https: by the connection, by a trusted proxy, or because publicUrl is https', () => {
    const plain = ruleOf({ publicUrl: 'http://api.example.com' })
    expect(plain.isSecure({})).toBe(false)
    expect(plain.isSecure({ isEncrypted: true })).toBe(true)
    expect(plain.isSecure({ headers: { 'x-forwarded-proto': 'https' } })).toBe(false)
    expect(plain.isSecure({ peer: PROXY, headers: { 'x-forwarded-proto': 'https' } })).toBe(true)
    expect(ruleOf().isSecure({})).toBe(true)
  })
})
