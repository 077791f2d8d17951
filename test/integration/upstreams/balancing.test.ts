import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { useKeep } from '../../support/fixtures.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'

const keep = useKeep()

/**
 * Keeps sessions in its memory, as engine.io does: polling opens a session, and a request or an upgrade with the id of an unknown session
 * answers 400.
 */
async function startStateful(name: string, port = 0) {
  const sessions = new Set<string>()
  const cookies: (string | undefined)[] = []
  const held: http.ServerResponse[] = []
  let setCookies: string[] = []
  const sockets = new WebSocketServer({ noServer: true })
  const sidOf = (url = '/') => new URL(url, 'http://upstream').searchParams.get('sid')
  const server = http.createServer((req, res) => {
    // a lost upstream is found by its refused connection, not by an idle connection that ends
    res.shouldKeepAlive = false
    cookies.push(req.headers.cookie)
    if (req.url === '/it/held') return void held.push(res)
    const sid = sidOf(req.url)
    if (sid !== null && !sessions.has(sid)) return void res.writeHead(400).end('unknown session')
    const opens = `${name}-${sessions.size}`
    if (sid === null) sessions.add(opens)
    res.writeHead(200, setCookies.length ? { 'set-cookie': setCookies } : {}).end(JSON.stringify({ name, sid: sid ?? opens }))
  })
  server.on('upgrade', (req, socket, head) => {
    cookies.push(req.headers.cookie)
    const sid = sidOf(req.url)
    if (sid !== null && !sessions.has(sid)) return void socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
    sockets.handleUpgrade(req, socket, head, (ws) => ws.send(name))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const upstream = {
    name,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    port: (server.address() as AddressInfo).port,
    cookies,
    held,
    sets: (list: string[]) => {
      setCookies = list
    },
    close: () =>
      new Promise<void>((resolve) => {
        for (const ws of sockets.clients) ws.terminate()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return keep(Promise.resolve(upstream))
}
type Stateful = Awaited<ReturnType<typeof startStateful>>

const startAll = (...names: string[]) => Promise.all(names.map((name) => startStateful(name)))
const gatewayTo = (upstreams: Stateful[], part: object = {}, routes: object[] = [], config = {}) =>
  keep(
    startGateway({
      config,
      routes: [
        { name: 'it', match: { path: '/it' }, upstream: upstreams.map(({ url }) => url), access: 'public', websocket: true, ...part },
        ...(routes as []),
      ],
    }),
  )

/** A client that keeps cookies. */
function createClient(gateway: Gateway, headers: Record<string, string> = {}) {
  const jar = new Map<string, string>()
  const cookie = () => ({ cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') })
  const learn = (list: string[]) => {
    for (const set of list) {
      const [name, value] = set.split(';')[0]!.split('=') as [string, string]
      jar.set(name, value)
    }
  }
  return {
    jar,
    async get(path = '/it') {
      const response = await fetch(gateway.url + path, { headers: { ...headers, ...cookie() } })
      const set = response.headers.getSetCookie()
      learn(set)
      const text = await response.text()
      return { status: response.status, set, text, ...(text.startsWith('{') ? (JSON.parse(text) as { name: string; sid: string }) : {}) }
    },
    /** @returns the first message, and the Set-Cookie fields of the 101 */
    async upgrade(path = '/it'): Promise<{ name: string; set: string[] }> {
      const ws = new WebSocket(gateway.url.replace('http', 'ws') + path, { headers: { ...headers, ...cookie() } })
      let set: string[] = []
      ws.on('upgrade', ({ headers: fields }) => {
        set = fields['set-cookie'] ?? []
      })
      const [message] = await once(ws, 'message')
      ws.close()
      await once(ws, 'close')
      learn(set)
      return { name: String(message), set }
    },
  }
}
const STICKY = { balance: 'sticky' }

describe('sticky by cookie', () => {
  it('each client stays at one upstream: requests, polling with state, and upgrades', async () => {
    const upstreams = await startAll('a', 'b', 'c')
    const gateway = await gatewayTo(upstreams, STICKY)
    const seen = new Set<string>()
    for (let i = 0; i < 12; i++) {
      const client = createClient(gateway)
      const { name, sid, set } = await client.get()
      seen.add(name!)
      expect(set).toHaveLength(1)
      expect(set[0]).toMatch(/^portcullis-upstream-it=[^;]+; Path=\/it; HttpOnly; SameSite=Lax$/)
      expect(set[0]).not.toMatch(/127\.0\.0\.1|http/)
      for (let again = 0; again < 3; again++) expect(await client.get(`/it?sid=${sid}`)).toMatchObject({ status: 200, name, set: [] })
      expect(await client.upgrade(`/it?sid=${sid}`)).toEqual({ name, set: [] })
    }
    expect(seen.size).toBeGreaterThan(1)
  })

  it('an upgrade alone sets the cookie, too', async () => {
    const gateway = await gatewayTo(await startAll('a', 'b', 'c'), STICKY)
    const client = createClient(gateway)
    const { name, set } = await client.upgrade()
    expect(set).toHaveLength(1)
    for (let i = 0; i < 4; i++) expect(await client.get()).toMatchObject({ name, set: [] })
  })

  it('a refused upgrade sets the cookie, too', async () => {
    const gateway = await gatewayTo(await startAll('a', 'b'), STICKY)
    const ws = new WebSocket(`${gateway.url.replace('http', 'ws')}/it?sid=unknown`)
    const [, response] = await once(ws, 'unexpected-response')
    expect(response.statusCode).toBe(400)
    expect(response.headers['set-cookie']).toHaveLength(1)
    response.destroy()
  })

  it('upstreams never see the cookie, neither of this route nor of another, also not on upgrades', async () => {
    const upstreams = await startAll('a', 'b')
    const other = await startStateful('other')
    const gateway = await gatewayTo(upstreams, STICKY, [
      { name: 'other', match: { path: '/it/other' }, upstream: [other.url], access: 'public', websocket: true },
    ])
    const client = createClient(gateway)
    await client.get()
    client.jar.set('mine', '1')
    for (const path of ['/it', '/it/other']) {
      await client.get(path)
      await client.upgrade(path)
    }
    expect(other.cookies).toEqual(['mine=1', 'mine=1'])
    const cookies = upstreams.flatMap((u) => u.cookies)
    expect(cookies.filter((c) => c !== undefined && c !== '')).toEqual(['mine=1', 'mine=1'])
    expect(cookies).toHaveLength(3)
  })

  it('an upstream sets its own cookies, and none of ours', async () => {
    const upstreams = await startAll('a', 'b')
    for (const upstream of upstreams) upstream.sets(['sid=1; Path=/', 'portcullis-upstream-it=forged; Path=/it', 'theme=dark'])
    const client = createClient(await gatewayTo(upstreams, STICKY))
    const { set } = await client.get()
    expect(set.slice(0, 2)).toEqual(['sid=1; Path=/', 'theme=dark'])
    expect(set).toHaveLength(3)
    expect((await client.get()).set).toEqual(['sid=1; Path=/', 'theme=dark'])
  })

  it('the cookie is Secure where a trusted proxy received the request over https', async () => {
    const upstreams = await startAll('a', 'b')
    const gateway = await gatewayTo(upstreams, STICKY, [], { server: { trustedProxies: ['127.0.0.1/32'] } })
    const { set } = await createClient(gateway, { 'x-forwarded-proto': 'https' }).get()
    expect(set[0]).toMatch(/; HttpOnly; SameSite=Lax; Secure$/)
  })

  it('a lost upstream moves its own clients, each to one other upstream, and nobody else', async () => {
    const upstreams = await startAll('a', 'b', 'c')
    const gateway = await gatewayTo(upstreams, { ...STICKY, breaker: { failures: 1, openMs: 60_000 } })
    const clients = Array.from({ length: 15 }, () => createClient(gateway))
    const before = await Promise.all(clients.map(async (client) => (await client.get()).name))
    const lost = upstreams.find(({ name }) => name === before[0])!
    await lost.close()
    for (const [i, client] of clients.entries()) {
      const { status, name, set } = await client.get()
      expect(status).toBe(200)
      if (before[i] === lost.name) expect(name).not.toBe(lost.name)
      else expect([name, set]).toEqual([before[i], []])
      expect(await client.get()).toMatchObject({ name, set: [] })
    }
  })
})

it('sticky by address: a client stays at one upstream without a cookie, and others are spread', async () => {
  const upstreams = await startAll('a', 'b', 'c')
  const gateway = await gatewayTo(upstreams, { ...STICKY, sticky: { by: 'address' } }, [], {
    server: { trustedProxies: ['127.0.0.1/32'] },
  })
  const seen = new Set<string>()
  // each address draws one of three: with 50 addresses none of the three is left out
  for (let i = 0; i < 50; i++) {
    const client = createClient(gateway, { 'x-forwarded-for': `192.0.2.${i}` })
    const { name, set } = await client.get()
    seen.add(name!)
    expect(set).toEqual([])
    expect((await client.get()).name).toBe(name)
    expect((await client.upgrade()).name).toBe(name)
  }
  expect(seen.size).toBe(3)
})

it('without a sticky route, a cookie of our name is an ordinary cookie', async () => {
  const upstream = await startStateful('a')
  upstream.sets(['portcullis-upstream-it=theirs'])
  const client = createClient(await gatewayTo([upstream]))
  expect((await client.get()).set).toEqual(['portcullis-upstream-it=theirs'])
  await client.get()
  expect(upstream.cookies.at(-1)).toBe('portcullis-upstream-it=theirs')
})

it('least connections: an upstream that is busy gets fewer requests', async () => {
  const upstreams = await startAll('a', 'b')
  const gateway = await gatewayTo(upstreams, { balance: 'leastConnections' })
  const client = createClient(gateway)
  const holding = [client.get('/it/held'), client.get('/it/held')]
  await until(() => upstreams.every(({ held }) => held.length === 1), 'one held request at each upstream')
  const [a, b] = upstreams as [Stateful, Stateful]
  a.held.pop()!.end()
  await Promise.race(holding)
  for (let i = 0; i < 5; i++) expect((await client.get()).name).toBe('a')
  b.held.pop()!.end()
  await Promise.all(holding)
})
