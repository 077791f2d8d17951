/** Requests as bytes: an upstream that keeps what it received on the wire, and Node's own server as a second reader. Latin-1. */
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo, type Server } from 'node:net'
import { atEnd } from './cleanup.ts'

export interface WireRequest {
  head: string
  target: string
  body: string
  /** What no upstream may get: two framings, a bare CR or LF, a NUL, a trailer. */
  flaws: string[]
}

/** The whole requests at the beginning of a text, and the rest of the text. */
function cutRequests(text: string): { requests: WireRequest[]; rest: string } {
  const requests: WireRequest[] = []
  let rest = text
  for (;;) {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd < 0) return { requests, rest }
    const head = rest.slice(0, headEnd)
    const length = /^content-length:[ \t]*(\d+)[ \t]*$/im.exec(head)?.[1]
    const isChunked = /^transfer-encoding:/im.test(head)
    const flaws = [
      ...(length !== undefined && isChunked ? ['Content-Length beside Transfer-Encoding'] : []),
      ...(/\r(?!\n)|(?<!\r)\n/.test(head) ? ['a bare CR or LF'] : []),
      ...(head.includes('\0') ? ['a NUL'] : []),
    ]
    const target = head.split(' ')[1] ?? ''
    if (!isChunked) {
      const end = headEnd + 4 + Number(length ?? 0)
      if (rest.length < end) return { requests, rest }
      requests.push({ head, target, body: rest.slice(headEnd + 4, end), flaws })
      rest = rest.slice(end)
      continue
    }
    const chunks = cutChunks(rest, headEnd + 4)
    if (!chunks) return { requests, rest }
    requests.push({ head, target, body: chunks.body, flaws: chunks.hasTrailer ? [...flaws, 'a trailer'] : flaws })
    rest = rest.slice(chunks.end)
  }
}

function cutChunks(text: string, from: number): { body: string; end: number; hasTrailer: boolean } | null {
  let body = ''
  for (let at = from; ; ) {
    const line = text.indexOf('\r\n', at)
    if (line < 0) return null
    const size = Number.parseInt(text.slice(at, line), 16)
    if (size === 0) {
      const hasTrailer = !text.startsWith('\r\n', line + 2)
      const end = text.indexOf('\r\n\r\n', line)
      return end < 0 ? null : { body, end: end + 4, hasTrailer }
    }
    if (!(size > 0) || text.length < line + 4 + size) return null
    body += text.slice(line + 2, line + 2 + size)
    at = line + 4 + size
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

export interface WireUpstream {
  url: string
  /** The whole requests since the last call, and what came besides: parts of requests. */
  take(): { requests: WireRequest[]; parts: string }
}

/** Answers each whole request with 200. */
export async function startWireUpstream(): Promise<WireUpstream> {
  let seen: WireRequest[] = []
  const parts = new Map<net.Socket, string>()
  const server = net.createServer((socket) => {
    socket.setEncoding('latin1')
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      const { requests, rest } = cutRequests((parts.get(socket) ?? '') + chunk)
      parts.set(socket, rest)
      seen.push(...requests)
      for (const { head } of requests) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${head.startsWith('HEAD ') ? '' : 'ok'}`)
    })
  })
  const port = await listen(server)
  atEnd(() => {
    server.close()
    for (const socket of parts.keys()) socket.destroy()
  })
  return {
    url: `http://127.0.0.1:${port}`,
    take() {
      const taken = { requests: seen, parts: [...parts.values()].join('') }
      seen = []
      for (const [socket] of parts) {
        if (socket.destroyed) parts.delete(socket)
        else parts.set(socket, '')
      }
      return taken
    },
  }
}

export interface StockReader {
  /** What a stock Node server reads in these bytes. */
  read(bytes: Buffer): Promise<{ targets: string[]; bodies: string[] }>
}

export async function startStockReader(): Promise<StockReader> {
  let targets: string[] = []
  let bodies: string[] = []
  const server = http.createServer((req, res) => {
    targets.push(req.url!)
    let body = ''
    req.setEncoding('latin1')
    req.on('data', (chunk) => {
      body += chunk
    })
    req.on('end', () => {
      if (req.complete) bodies.push(body)
      res.end('ok')
    })
    req.on('error', () => {})
  })
  server.on('upgrade', (req, socket) => {
    targets.push(req.url!)
    socket.destroy()
  })
  const port = await listen(server)
  atEnd(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    async read(bytes) {
      targets = []
      bodies = []
      await exchange(port, bytes)
      return { targets, bodies }
    },
  }
}

const PATIENCE_MS = 3000

/** Sends the bytes and a FIN, and reads until the peer closes. `isHung`: it did not close. */
export function exchange(port: number, bytes: Buffer): Promise<{ text: string; isHung: boolean }> {
  return new Promise((resolve) => {
    let text = ''
    let isHung = false
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(bytes))
    const timer = setTimeout(() => {
      isHung = true
      socket.destroy()
    }, PATIENCE_MS)
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', () => socket.destroy())
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(timer)
      resolve({ text, isHung })
    })
  })
}
