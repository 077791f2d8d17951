/** No request makes an upstream believe in an identity or an origin that the gateway did not establish. */
import type { IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newUser, raw, statusOf, type TestUser } from '../support/client.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let gateway: Gateway
let user: TestUser
/** The header section of each request, plain or upgrade, as it arrived. */
let seen: [string, string][][] = []
const keep = (req: IncomingMessage) => {
  seen.push(Array.from({ length: req.rawHeaders.length / 2 }, (_, i) => [req.rawHeaders[2 * i]!, req.rawHeaders[2 * i + 1]!]))
}
let server: Upstream
beforeAll(async () => {
  server = await startUpstream((req, res) => {
    keep(req)
    req.resume().on('end', () => res.end('ok'))
    return true
  })
  server.server.on('upgrade', (req, socket) => {
    keep(req)
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
  })
  const upstream = [server.url]
  gateway = await startGateway({
    routes: [
      { name: 'public', match: { path: '/public' }, upstream, access: 'public', websocket: true },
      {
        name: 'passing',
        match: { path: '/passing' },
        upstream,
        access: 'public',
        websocket: true,
        headers: { passReserved: ['CF-IPCountry', 'X-Consumer-Custom-ID'] },
      },
      { name: 'private', match: { path: '/private' }, upstream, access: 'authenticated', websocket: true },
    ],
  })
  user = await newUser(gateway)
})
afterAll(async () => {
  await gateway.close()
  await server.close()
})

const UPGRADE = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
/** Sends these fields in both ways. @returns what the upstream saw, names folded as CGI does it */
async function sent(path: string, fields: string[]): Promise<[string, string][][]> {
  seen = []
  const who = path === '/private' ? [`Authorization: Bearer ${user.token}`] : []
  const plain = ['Connection: close', ...who, ...fields]
  const upgrade = [...UPGRADE, ...who, ...fields]
  for (const list of [plain, upgrade]) {
    const answer = await raw(gateway.port, [`GET ${path} HTTP/1.1`, 'Host: gateway.test', ...list, '\r\n'].join('\r\n'))
    expect([200, 403]).toContain(statusOf(answer))
  }
  expect(seen).toHaveLength(2)
  return seen.map((list) =>
    list.map(([name, value]) => [
      name
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .replace(/^-|-$/g, ''),
      value,
    ]),
  )
}
const valuesOf = (list: [string, string][], name: string) => list.filter(([n]) => n === name).map(([, v]) => v)

const SPELLINGS = [
  'X-Auth-User',
  'x-auth-user',
  'X-AUTH-USER',
  'X_Auth_User',
  'x_auth_user',
  'x-auth_user',
  'X.Auth.User',
  'x-auth.user',
  'X--Auth--User',
  '-X-Auth-User',
  'X-Auth-User-',
  '_x_auth_user_',
  "X'Auth'User",
  'x|auth|user',
  'x~auth~user',
  'x*auth*user',
  'x!auth!user',
]

describe('an identity that a client claims', () => {
  it.each(SPELLINGS)('%s is removed on a public route', async (name) => {
    for (const list of await sent('/public', [`${name}: evil`])) {
      expect(valuesOf(list, 'x-auth-user')).toEqual([])
      expect(list.flat().join()).not.toContain('evil')
    }
  })

  it.each(SPELLINGS)('%s does not stand beside the true one', async (name) => {
    for (const list of await sent('/private', [`${name}: evil`, `${name}: evil2`])) {
      expect(valuesOf(list, 'x-auth-user')).toEqual([user.id])
      expect(list.flat().join()).not.toContain('evil')
    }
  })

  it.each([
    'X-Auth-Email',
    'X-Auth-Roles',
    'X-Auth-Session',
    'X-Auth-Assertion',
    'X-Auth-Anything',
    'Remote-User',
    'X-Remote-User',
    'X-Forwarded-User',
    'X-Consumer-Groups',
    'X-Goog-Authenticated-User-Id',
    'Cf-Access-Jwt-Assertion',
    'X-Amzn-Oidc-Identity',
    'X-MS-CLIENT-PRINCIPAL',
    'X-SSL-Client-S-DN',
    'X-Client-Cert',
    'X-Forwarded',
    'Fastly-Client-IP',
    'True-Client-Anything',
    'X-Envoy-Peer-Metadata',
    'X-WEBAUTH-USER',
  ])('%s never arrives', async (name) => {
    for (const path of ['/public', '/private'])
      for (const list of await sent(path, [`${name}: evil`, `${name.replaceAll('-', '_')}: evil`]))
        expect(list.flat().join()).not.toContain('evil')
  })
})

it('a reserved header passes on the route that names it, and nowhere else', async () => {
  const fields = ['CF-IPCountry: DE', 'X-Consumer-Custom-ID: 7', 'X_Consumer_Custom_ID: evil', 'CF-Ray: evil', 'X-Auth-User: evil']
  for (const list of await sent('/passing', fields)) {
    expect(valuesOf(list, 'cf-ipcountry')).toEqual(['DE'])
    expect(valuesOf(list, 'x-consumer-custom-id')).toEqual(['7'])
    expect(list.flat().join()).not.toContain('evil')
  }
  for (const list of await sent('/public', fields))
    expect(list.map(([name]) => name).filter((name) => /^(cf|x-consumer)-/.test(name))).toEqual([])
})

describe('Connection', () => {
  it.each([
    'x-auth-user',
    'X-Auth-User, x-auth-roles, x-auth-session',
    'close, X-AUTH-ROLES',
    'x-auth-user\r\nConnection: x-auth-roles',
  ])('naming %j does not delete the true identity', async (named) => {
    for (const list of await sent('/private', [`Connection: ${named}`])) {
      expect(valuesOf(list, 'x-auth-user')).toEqual([user.id])
      expect(valuesOf(list, 'x-auth-roles')).toEqual(['user'])
      expect(valuesOf(list, 'x-auth-session')).toHaveLength(1)
    }
  })

  it('a Connection field that names the forwarding headers does not delete them', async () => {
    for (const list of await sent('/public', [
      'Connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-request-id, traceparent, host',
    ]))
      for (const name of ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-request-id', 'traceparent', 'host'])
        expect(valuesOf(list, name), name).toHaveLength(1)
  })
})

describe('an origin that a client claims', () => {
  it.each([
    ['X-Forwarded-For', ['127.0.0.1']],
    ['X-Forwarded-Proto', ['http']],
    ['X-Forwarded-Host', ['gateway.test']],
    ['X-Forwarded-Port', ['80']],
    ['X-Forwarded-Prefix', []],
    ['Forwarded', []],
    ['X-Real-IP', []],
    ['X-Client-IP', []],
    ['True-Client-IP', []],
    ['CF-Connecting-IP', []],
  ])('%s is set anew or not at all', async (name, expected) => {
    for (const spelling of [name, name.replaceAll('-', '_')])
      for (const list of await sent('/public', [`${spelling}: evil`, `${spelling}: evil2`]))
        expect(valuesOf(list, name.toLowerCase())).toEqual(expected)
  })
})

it('a token in the trailers, or an identity in them, arrives nowhere', async () => {
  seen = []
  const head = [
    'POST /public HTTP/1.1',
    'Host: gateway.test',
    'Transfer-Encoding: chunked',
    'Trailer: X-Auth-User',
    'Connection: close',
  ].join('\r\n')
  await raw(gateway.port, `${head}\r\n\r\n2\r\nok\r\n0\r\nX-Auth-User: evil\r\nAuthorization: Bearer ${user.token}\r\n\r\n`)
  expect(seen).toHaveLength(1)
  expect(seen.flat().filter(([name]) => /auth/i.test(name))).toEqual([])
})
