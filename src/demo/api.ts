/** The API behind the demo. It has no code for tokens and trusts the gateway's headers. It listens on loopback only. */
import { createHash } from 'node:crypto'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { readShopPage } from './shop-page.ts'

interface Order {
  id: number
  owner: string
  item: string
  status: 'open' | 'shipped'
}

const CATALOG = [
  { item: 'drawbridge', price: 1200 },
  { item: 'portcullis', price: 800 },
  { item: 'moat (per metre)', price: 90 },
]

export interface DemoApi {
  port: number
  close(): Promise<void>
}

export async function startDemoApi(): Promise<DemoApi> {
  const orders: Order[] = [{ id: 1, owner: 'somebody', item: 'moat (per metre)', status: 'shipped' }]
  const feeds = new Set<ServerResponse>()
  const streams = new Set<Duplex>()
  const page = readShopPage()
  const notify = (order: Order) => {
    for (const feed of feeds)
      feed.write(`event: order\ndata: ${JSON.stringify({ id: order.id, item: order.item, status: order.status })}\n\n`)
  }

  const server = http.createServer(async (req, res) => {
    const { pathname } = new URL(req.url ?? '/', 'http://demo')
    const user = req.headers['x-auth-user'] as string | undefined
    const call = `${req.method} ${pathname}`
    const file = page.get(pathname)
    if (file) return void res.writeHead(200, file.headers).end(req.method === 'HEAD' ? undefined : file.content)
    if (pathname === '/shop') return void res.writeHead(308, { location: '/shop/' }).end()
    if (call === 'GET /shop/catalog') return json(res, 200, CATALOG)
    if (call === 'GET /shop/orders')
      return json(
        res,
        200,
        orders.filter((o) => o.owner === user),
      )
    if (call === 'POST /shop/orders') return placeOrder(req, res, user!)
    if (call === 'GET /shop/admin/orders') return json(res, 200, orders)
    if (call === 'GET /shop/whoami')
      return json(res, 200, {
        user,
        roles: req.headers['x-auth-roles'],
        session: req.headers['x-auth-session'],
        request_id: req.headers['x-request-id'],
      })
    if (call === 'GET /shop/feed') return feed(res)
    const ship = /^POST \/shop\/admin\/orders\/(\d+)\/ship$/.exec(call)
    const order = ship && orders.find((o) => o.id === Number(ship[1]))
    if (!order) return json(res, 404, { error: 'not found' })
    order.status = 'shipped'
    notify(order)
    return json(res, 200, order)
  })

  async function placeOrder(req: IncomingMessage, res: ServerResponse, user: string): Promise<void> {
    const item = await readItem(req)
    if (!CATALOG.some((c) => c.item === item))
      return json(res, 422, { error: `item must be one of: ${CATALOG.map((c) => c.item).join(', ')}` })
    const order: Order = { id: orders.length + 1, owner: user, item, status: 'open' }
    orders.push(order)
    notify(order)
    return json(res, 201, order)
  }

  function feed(res: ServerResponse): void {
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
    res.write(': every new and shipped order\n\n')
    feeds.add(res)
    const beat = setInterval(() => res.write(': beat\n\n'), 10_000)
    res.on('close', () => {
      clearInterval(beat)
      feeds.delete(res)
    })
  }

  server.on('upgrade', (req, stream: Duplex) => {
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    stream.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
    const user = String(req.headers['x-auth-user'])
    stream.write(frame(`hello ${user}`))
    streams.add(stream)
    stream.on('data', (data: Buffer) => {
      const text = unmask(data)
      if (text === null) return stream.end(CLOSE)
      stream.write(frame(`echo: ${text}`))
      for (const other of streams) if (other !== stream) other.write(frame(`${user.slice(-4)}: ${text}`))
    })
    stream.on('close', () => streams.delete(stream)).on('error', () => stream.destroy())
  })

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const stream of streams) stream.destroy()
        server.closeAllConnections()
      }),
  }
}

function json(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
}

async function readItem(req: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of req) text += chunk
  try {
    return String((JSON.parse(text) as { item?: unknown }).item)
  } catch {
    return ''
  }
}

/** The part of RFC 6455 for short text messages in a single frame and a single read. */
function frame(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const head = length < 126 ? [0x81, length] : [0x81, 126, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(head), Buffer.from(text)])
}

const CLOSE = Buffer.from([0x88, 0])
const MAX_BYTES = 1000

/** @returns null for everything else, such as the end */
function unmask(data: Buffer): string | null {
  if (data.length < 6 || (data[0]! & 0x0f) !== 1) return null
  const short = data[1]! & 0x7f
  const [length, start] = short === 126 ? [data.readUInt16BE(2), 4] : [short, 2]
  const end = start + 4 + length
  if (short === 127 || length > MAX_BYTES || data.length < end) return null
  const mask = data.subarray(start, start + 4)
  return Buffer.from(data.subarray(start + 4, end).map((b, i) => b ^ mask[i % 4]!)).toString()
}
