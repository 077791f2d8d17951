/** The upstream of the storms: it knows what it has begun and what has ended, and checks that what it gets is of one piece. */
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { strangers } from './random.ts'

export interface StormUpstream {
  url: string
  inFlight(): number
  /** Connections that are open. */
  sockets(): number
  /** Requests that ended before their answer did. */
  aborted(): number
  /** True once a request with this mark in its path has come. */
  hasSeen(mark: string): boolean
  /** What must stay empty. */
  broken: string[]
  close(): Promise<void>
}

/**
 * `/echo/MARK` answers with the mark it saw; `/marked/MARK?bytes=N` takes a body and answers with N bytes of the mark, `&chunked` without a
 * length; `/never/MARK` is silent; `/down?bytes=N` and `/up` carry a stream and its hash.
 */
export async function startStormUpstream(): Promise<StormUpstream> {
  const broken: string[] = []
  const seen = new Set<string>()
  const open = new Set<Socket>()
  let inFlight = 0
  let aborted = 0

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(req.url!, 'http://upstream')
    const [, kind, mark = ''] = pathname.split('/')
    if (kind === 'marked' || kind === 'never') seen.add(mark)
    if (kind === 'never') return void req.resume()
    if (kind === 'down') return pipeline(pieces(Number(searchParams.get('bytes'))), res)
    if (kind === 'up') {
      const hash = createHash('sha256')
      await pipeline(req, into(hash))
      return void res.end(hash.digest('hex'))
    }
    let body = ''
    for await (const chunk of req.setEncoding('latin1')) body += chunk
    if (kind !== 'marked') return void res.end(`${mark} ${req.headers['x-mark'] ?? ''}`)
    if (strangers(body, mark).length) broken.push(`the upstream got another's bytes: ${mark}`)
    if (body.length !== Number(searchParams.get('sent'))) broken.push(`the upstream took ${body.length} bytes for a whole body: ${mark}`)
    const text = marked(mark, Number(searchParams.get('bytes')))
    if (!searchParams.has('chunked')) res.setHeader('content-length', text.length)
    await pipeline(inSlices(text), res)
  }

  const server = http.createServer((req, res) => {
    inFlight++
    res.on('close', () => {
      inFlight--
      if (!res.writableFinished) aborted++
    })
    answer(req, res).catch(() => res.destroy())
  })
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  server.on('upgrade', (_req, socket) => {
    socket.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    inFlight: () => inFlight,
    sockets: () => open.size,
    aborted: () => aborted,
    hasSeen: (mark) => seen.has(mark),
    broken,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}

/** The mark again and again: `bytes` of it. */
export const marked = (mark: string, bytes: number): string => `${mark}\n`.repeat(bytes / (mark.length + 1) + 1).slice(0, bytes)

/** With a turn of the event loop between two slices: others come in between. */
async function* inSlices(text: string) {
  for (let at = 0; at < text.length; at += 4096) {
    yield Buffer.from(text.slice(at, at + 4096), 'latin1')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const PIECE = Buffer.alloc(64 * 1024, 'portcullis ')

/** No two pieces are the same: a lost, repeated or exchanged one shows. */
function* sequence(bytes: number) {
  for (let sent = 0; sent < bytes; sent += PIECE.length) {
    const piece = Buffer.from(PIECE.subarray(0, Math.min(PIECE.length, bytes - sent)))
    piece.writeDoubleBE(sent, 0)
    yield piece
  }
}

export const pieces = (bytes: number): Readable => Readable.from(sequence(bytes), { objectMode: false })

export function hashOf(bytes: number): string {
  const hash = createHash('sha256')
  for (const piece of sequence(bytes)) hash.update(piece)
  return hash.digest('hex')
}

/** A sink that hashes. */
export const into = (hash: Hash): Writable =>
  new Writable({
    write(chunk, _encoding, done) {
      hash.update(chunk)
      done()
    },
  })
