/** The client library in Node, installed from its tarball, in front of a real gateway. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import type { Client, ClientOptions, LoggedIn } from '../../../clients/javascript/src/portcullis-client.d.ts'
import { call, login, newUser } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { type PackedClient, packClient } from '../../support/packed-client.ts'
import { until } from '../../support/processes.ts'
import { codeOf, newFactorUser } from '../../support/totp.ts'

const EXPIRED_MS = 16 * 60_000

/** What the upstream answers before it answers as usual. */
let refusals: { status: number; headers: Record<string, string> }[] = []
const upstream = useUpstream((_req, res) => {
  const refusal = refusals.shift()
  if (refusal) res.writeHead(refusal.status, refusal.headers).end()
  return refusal !== undefined
})
const sockets = new WebSocketServer({ host: '127.0.0.1', port: 0 })
sockets.on('connection', (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)))
const routes = () => ({
  routes: [
    { name: 'api', match: { path: '/api' }, upstream: [upstream.url], access: 'authenticated' },
    { name: 'open', match: { path: '/open' }, upstream: [upstream.url], access: 'public' },
    {
      name: 'chat',
      match: { path: '/chat' },
      upstream: [`http://127.0.0.1:${(sockets.address() as AddressInfo).port}`],
      access: 'authenticated',
      websocket: true,
    },
  ],
})
const gateway = useGateway(routes)
/** Its clock is moved, and leaves that of the database behind. */
const later = useGateway(routes)

let packed: PackedClient
let library: Awaited<ReturnType<PackedClient['load']>>
beforeAll(async () => {
  packed = packClient()
  library = await packed.load()
})
afterAll(() => {
  for (const ws of sockets.clients) ws.terminate()
  sockets.close()
  packed.close()
})
beforeEach(() => {
  refusals = []
  upstream.take()
})

/** Counts requests by path. `lose` throws the next answer from this path away, after the gateway has given it. */
function counted(options: ClientOptions = {}, { url } = gateway) {
  const counts: Record<string, number> = {}
  let lost: string | null = null
  const client = library.createClient({
    baseUrl: url,
    ...options,
    fetch: async (input, init) => {
      const { pathname } = new URL(input instanceof Request ? input.url : input)
      counts[pathname] = (counts[pathname] ?? 0) + 1
      const response = await fetch(input, init)
      if (pathname !== lost) return response
      lost = null
      throw new TypeError('fetch failed')
    },
  })
  return {
    client,
    counts,
    lose: (path: string) => {
      lost = path
    },
  }
}

async function loggedIn(options?: ClientOptions, at = gateway) {
  const user = await newUser(at)
  const one = counted(options, at)
  await one.client.login({ login: user.username, password: user.password })
  return { ...one, user }
}

/** Moves the clock of the gateway past the end of the access token; the clock of the client stays. */
const expire = () => later.clock.advance(EXPIRED_MS)
const statusOf = async (client: Client, path = '/api') => (await client.fetch(path)).status
const eventsOf = (client: Client) => {
  const events: string[] = []
  for (const type of ['loggedin', 'loggedout'] as const) client.addEventListener(type, (event) => events.push(event.type))
  return events
}

describe('a login', () => {
  it('gives a client that may call the APIs, until it logs out', async () => {
    const { client } = counted()
    const events = eventsOf(client)
    expect(await client.session()).toBeNull()
    expect(await statusOf(client)).toBe(401)
    const user = { username: 'libraryuser', email: 'library@example.com', password: 'plain zebra library' }
    const registered = (await client.register(user)) as LoggedIn
    expect(registered).toMatchObject({ user: { username: 'libraryuser', roles: ['user'] }, device_token: expect.any(String) })
    expect(registered).not.toHaveProperty('access_token')
    expect(registered).not.toHaveProperty('refresh_token')
    expect(await statusOf(client)).toBe(200)
    expect(upstream.take()[0]!.headers).toMatchObject({ 'x-auth-user': registered.user.id })
    expect(await client.session()).toMatchObject({ user: { email: 'library@example.com' } })
    await client.logout()
    expect(await client.session()).toBeNull()
    expect(await statusOf(client)).toBe(401)
    expect(events).toEqual(['loggedin', 'loggedout'])
  })

  it('asks for the code of a second factor', async () => {
    const user = await newFactorUser(gateway)
    const { client } = counted()
    const asked = await client.login({ login: user.username, password: user.password })
    if (!('mfa_required' in asked)) throw new Error('no second factor was asked for')
    await expect(client.loginMfa({ mfa_token: asked.mfa_token, code: '000000' })).rejects.toMatchObject({ code: 'invalid_code' })
    expect(await client.session()).toBeNull()
    expect(await client.loginMfa({ mfa_token: asked.mfa_token, code: codeOf(user.secret) })).toMatchObject({ user: { id: user.id } })
    expect(await statusOf(client)).toBe(200)
  })

  it('is refused with the problem of the gateway', async () => {
    const { client } = counted()
    const wrong = await client.login({ login: 'nobody@example.com', password: 'wrong' }).catch((error) => error)
    expect(wrong).toBeInstanceOf(library.PortcullisError)
    expect(wrong).toMatchObject({ code: 'invalid_credentials', status: 401, errors: [], requestId: expect.any(String) })
    expect(wrong.detail).toBe('The login or the password is wrong. Check both.')
    const short = await client.register({ username: 'shorty', email: 'shorty@example.com', password: 'short' }).catch((error) => error)
    expect(short).toMatchObject({ code: 'validation_failed', status: 422, errors: [{ field: 'password', code: 'too_short' }] })
  })

  it('can be shown again, and the password changed: the client has the new tokens', async () => {
    const { client, user } = await loggedIn()
    expect(await client.reauthenticate({ password: user.password })).toMatchObject({ user: { id: user.id } })
    expect(await statusOf(client)).toBe(200)
    await client.changePassword({ current_password: user.password, new_password: 'plain zebra changed' })
    expect(await statusOf(client)).toBe(200)
    await expect(client.reauthenticate({ password: user.password })).rejects.toMatchObject({ code: 'invalid_credentials' })
  })
})

describe('an expired access token', () => {
  it('leads to one refresh for all requests, and each is sent again', async () => {
    const { client, counts } = await loggedIn({}, later)
    expire()
    expect(await Promise.all(Array.from({ length: 8 }, () => statusOf(client)))).toEqual(Array(8).fill(200))
    expect(counts).toMatchObject({ '/auth/refresh': 1, '/api': 16 })
  })

  it('does not end the session when the answer of the refresh is lost', async () => {
    const { client, counts, lose } = await loggedIn({}, later)
    const events = eventsOf(client)
    expire()
    lose('/auth/refresh')
    expect(await statusOf(client)).toBe(200)
    expect(counts['/auth/refresh']).toBe(2)
    expire()
    expect(await statusOf(client)).toBe(200)
    expect(events).toEqual([])
  })

  it('leads to a refresh and not to a second request, when the body was a stream', async () => {
    const { client, counts } = await loggedIn({}, later)
    expire()
    const body = () => new Blob(['one']).stream()
    const init = () => ({ method: 'POST', body: body(), duplex: 'half' }) as RequestInit
    expect((await client.fetch('/api', init())).status).toBe(401)
    expect(counts).toMatchObject({ '/auth/refresh': 1, '/api': 1 })
    expect((await client.fetch('/api', init())).status).toBe(200)
    expect(upstream.take().map(({ body }) => body)).toEqual(['one'])
    expire()
    expect((await client.fetch(new Request(`${later.url}/api`, { method: 'POST', body: 'two' }))).status).toBe(401)
  })

  it('leads to a second request with the same body, when the body is a text', async () => {
    const { client } = await loggedIn({}, later)
    expire()
    expect((await client.fetch('/api', { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } })).status).toBe(
      200,
    )
    expect(upstream.take()).toMatchObject([{ method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } }])
    expire()
    expect((await client.fetch(new Request(`${later.url}/api`, { headers: { 'x-own': 'kept' } }))).status).toBe(200)
    expect(upstream.take()).toMatchObject([{ headers: { 'x-own': 'kept' } }])
  })
})

describe('a session that was ended elsewhere', () => {
  it('is reported once, and the client is anonymous from then on', async () => {
    const { client, user, counts } = await loggedIn()
    const events = eventsOf(client)
    const { access_token } = (await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).body
    expect((await call(gateway, '/auth/logout-all', { method: 'POST', token: access_token })).status).toBe(204)
    expect(await Promise.all([statusOf(client), statusOf(client)])).toEqual([401, 401])
    expect(events).toEqual(['loggedout'])
    expect(counts['/auth/refresh']).toBe(1)
    expect(await client.session()).toBeNull()
    expect(await statusOf(client, '/open')).toBe(200)
  })

  it('closes its WebSocket with 4401, and is reported', async () => {
    const { client, user } = await loggedIn()
    const events = eventsOf(client)
    const socket = await client.webSocket('/chat')
    const messages: string[] = []
    socket.addEventListener('message', ({ data }) => messages.push(data))
    await once(socket, 'open')
    expect(socket.protocol).toBe('portcullis')
    socket.send('hello')
    await until(() => messages.includes('echo hello'), 'the echo')
    const closed = once(socket, 'close')
    const { access_token } = (await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })).body
    await call(gateway, '/auth/logout-all', { method: 'POST', token: access_token })
    expect((await closed)[0].code).toBe(4401)
    await until(() => events.includes('loggedout'), 'the event')
  })

  it('is ended at the gateway by a logout of the client, also with an expired access token', async () => {
    const { client, user } = await loggedIn({}, later)
    await client.fetch('/api')
    const id = upstream.take()[0]!.headers['x-auth-session']
    const listed = async () => {
      const { token } = await login(later, user)
      return JSON.stringify((await call(later, '/auth/sessions', { token })).body).includes(`"${id}"`)
    }
    expect(await listed()).toBe(true)
    expire()
    await client.logout()
    expect(await listed()).toBe(false)
  })
})

describe('Retry-After', () => {
  const busy = (status: number, value: string) => ({ status, headers: { 'retry-after': value } })

  it('is obeyed when the request may be repeated', async () => {
    const { client } = await loggedIn()
    refusals = [busy(503, '0'), busy(429, '1')]
    expect(await statusOf(client)).toBe(200)
    refusals = [busy(503, new Date(Date.now() - 5000).toUTCString())]
    expect((await client.fetch('/api', { method: 'PUT', body: 'x' })).status).toBe(200)
  })

  it('is left to the caller when it is long, comes a third time, or the request may have had an effect', async () => {
    const { client } = await loggedIn({ maxRetryAfterSeconds: 5 })
    refusals = [busy(503, '6')]
    expect((await client.fetch('/api')).headers.get('retry-after')).toBe('6')
    refusals = [busy(503, '0'), busy(503, '0'), busy(503, '0')]
    expect(await statusOf(client)).toBe(503)
    for (const init of [{ method: 'POST', body: 'x' }, { method: 'PATCH' }]) {
      refusals = [busy(503, '0')]
      expect((await client.fetch('/api', init)).status).toBe(503)
    }
    refusals = [{ status: 503, headers: {} }]
    expect(await statusOf(client)).toBe(503)
  })

  it('ends with the signal of the caller', async () => {
    const { client } = await loggedIn()
    refusals = [busy(503, '10')]
    const stop = new AbortController()
    const waiting = client.fetch('/api', { signal: stop.signal })
    await until(() => refusals.length === 0, 'the refusal')
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('another origin', () => {
  it('never gets a request', async () => {
    const { client } = await loggedIn()
    await expect(client.fetch(`${upstream.url}/api`)).rejects.toThrow(TypeError)
    await expect(client.fetch('//evil.test/api')).rejects.toThrow('http://evil.test is not the gateway')
    await expect(client.fetch(new Request(upstream.url))).rejects.toThrow(TypeError)
    await expect(client.webSocket('ws://evil.test/chat')).rejects.toThrow(TypeError)
    expect(upstream.take()).toEqual([])
  })
})

describe('a storage', () => {
  const memory = () => {
    const items = new Map<string, string>()
    return {
      items,
      getItem: async (key: string) => items.get(key) ?? null,
      setItem: async (key: string, value: string) => void items.set(key, value),
      removeItem: async (key: string) => void items.delete(key),
    }
  }

  it('lets a later process go on with the session, and is empty after the logout', async () => {
    const storage = memory()
    const first = await loggedIn({ storage }, later)
    expect(storage.items.size).toBe(1)
    const second = counted({ storage }, later).client
    expect(await second.session()).toMatchObject({ user: { id: first.user.id } })
    expect(await statusOf(second)).toBe(200)
    // the first process finds the successor
    expire()
    expect(await statusOf(first.client)).toBe(200)
    await first.client.logout()
    expect(storage.items.size).toBe(0)
    expect(await counted({ storage }, later).client.session()).toBeNull()
  })

  it('with an inactive token is emptied', async () => {
    const storage = memory()
    const { user, client } = await loggedIn({ storage })
    const [key, value] = [...storage.items][0]!
    await client.logout()
    storage.items.set(key, value)
    const later = counted({ storage }).client
    expect(await later.session()).toBeNull()
    expect(storage.items.size).toBe(0)
    expect(user.id).toEqual(expect.any(String))
  })
})

describe('a gateway that cannot be reached', () => {
  const failing = (path: string) => {
    let isAway = false
    const client = library.createClient({
      baseUrl: later.url,
      fetch: (input, init) => (isAway && String(input).endsWith(path) ? Promise.reject(new TypeError('fetch failed')) : fetch(input, init)),
    })
    return { client, away: (value: boolean) => (isAway = value) }
  }

  it('forgets no session for want of a refresh', async () => {
    const user = await newUser(later)
    const { client, away } = failing('/auth/refresh')
    await client.login({ login: user.username, password: user.password })
    expire()
    away(true)
    await expect(client.fetch('/api')).rejects.toThrow('fetch failed')
    away(false)
    expect(await statusOf(client)).toBe(200)
  })

  it('does not keep a client logged in that logs out', async () => {
    const user = await newUser(later)
    const { client, away } = failing('/auth/logout')
    await client.login({ login: user.username, password: user.password })
    away(true)
    await expect(client.logout()).rejects.toThrow('fetch failed')
    expect(await client.session()).toBeNull()
  })
})

/** The oldest Node that the library promises, if it is on PATH. */
async function findNode20(): Promise<string | undefined> {
  for (const folder of process.env.PATH!.split(delimiter)) {
    const node = join(folder, 'node')
    const { stdout } = await promisify(execFile)(node, ['--version']).catch(() => ({ stdout: '' }))
    if (stdout.startsWith('v20.')) return node
  }
  return undefined
}
const node20 = await findNode20()

it.skipIf(!node20)('a script logs in and calls an API with Node 20', async () => {
  const user = await newUser(gateway)
  const script = join(packed.folder, 'script.js')
  writeFileSync(
    script,
    `import { createClient } from 'portcullis-client'
const client = createClient({ baseUrl: process.argv[2] })
await client.login({ login: process.argv[3], password: process.argv[4] })
const { headers } = await (await client.fetch('/api')).json()
await client.logout()
console.log(process.version, headers['x-auth-user'], await client.session())
`,
  )
  const { stdout } = await promisify(execFile)(node20!, [script, gateway.url, user.username, user.password])
  expect(stdout.trim()).toMatch(new RegExp(`^v20\\.\\S+ ${user.id} null$`))
})
