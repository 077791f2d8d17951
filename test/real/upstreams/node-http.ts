/** Node's own server. Run by: node node-http.ts PORT PREFIX */
import { createHash } from 'node:crypto'
import http from 'node:http'
import { gzipSync } from 'node:zlib'

const [port, prefix = ''] = process.argv.slice(2)
const LARGE = Buffer.alloc(1_000_000, '0123456789abcdef')

http
  .createServer((req, res) => {
    const path = req.url!.slice(prefix.length).split('?')[0]!
    const text = (status: number, body: string, headers = {}) =>
      res.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body), ...headers }).end(body)
    const parts = async (type: string, list: string[]) => {
      res.writeHead(200, { 'content-type': type })
      for (const part of list) {
        res.write(part)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      res.end()
    }
    if (path === '/echo') {
      const hash = createHash('sha256')
      req
        .on('data', (chunk) => hash.update(chunk))
        .on('end', () => text(200, JSON.stringify({ method: req.method, url: req.url, sha256: hash.digest('hex'), headers: req.headers })))
    } else if (path === '/small') text(200, JSON.stringify({ url: req.url, headers: req.headers }))
    else if (path === '/large') res.writeHead(200, { 'content-length': LARGE.length }).end(req.method === 'HEAD' ? undefined : LARGE)
    else if (path === '/empty') text(200, '')
    else if (path === '/none') res.writeHead(204).end()
    else if (path === '/chunked') void parts('text/plain', ['one ', 'two ', 'three'])
    else if (path === '/redirect') text(302, 'elsewhere', { location: `${prefix}/small` })
    else if (path === '/cookies') text(200, String(req.headers.cookie), { 'set-cookie': ['a=1; Path=/; HttpOnly', 'b=2; Max-Age=5'] })
    else if (path === '/etag' && req.headers['if-none-match'] === '"v1"')
      res.writeHead(304, { etag: '"v1"', 'cache-control': 'no-cache' }).end()
    else if (path === '/etag') text(200, 'version 1', { etag: '"v1"', 'cache-control': 'no-cache' })
    else if (path === '/range') text(206, '2345', { 'content-range': 'bytes 2-5/10', 'accept-ranges': 'bytes' })
    else if (path === '/gzip') {
      const body = gzipSync('compressed '.repeat(100))
      res.writeHead(200, { 'content-encoding': 'gzip', 'content-length': body.length, vary: 'accept-encoding' }).end(body)
    } else if (path === '/early') text(413, 'too large', { connection: 'close' })
    else if (path === '/events') void parts('text/event-stream', ['data: 1\n\n', 'id: 2\ndata: 2\n\n', ': end\n\n'])
    else if (path === '/poll') setTimeout(() => text(200, 'at last'), 200)
    else if (path === '/completion') {
      req.resume()
      void parts('text/event-stream', ['data: {"token":"a"}\n\n', 'data: {"token":"b"}\n\n', 'data: [DONE]\n\n'])
    } else text(Number(/^\/status\/(\d+)$/.exec(path)?.[1] ?? 404), 'a status')
  })
  .listen(Number(port), '127.0.0.1')
