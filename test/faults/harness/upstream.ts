/** The upstream of a row. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { startUpstream, type Upstream } from '../../support/upstream.ts'
import { atEnd } from './cleanup.ts'

/**
 * `/x?nonce=N` answers with N and the user; `/slow?ms=T` answers after T ms; `/upload` answers with the number of bytes that it received;
 * `/events` sends a line each 100 ms until the client leaves.
 */
export async function startRowUpstream(
  handler?: (req: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>,
): Promise<Upstream> {
  const upstream = await startUpstream(async (req, res) => {
    const { pathname, searchParams } = new URL(req.url!, 'http://upstream')
    const nonce = searchParams.get('nonce') ?? ''
    if (await handler?.(req, res)) return true
    if (pathname.endsWith('/upload')) {
      let bytes = 0
      for await (const chunk of req) bytes += chunk.length
      res.end(JSON.stringify({ nonce, bytes }))
      return true
    }
    req.resume()
    if (pathname.endsWith('/events')) {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const timer = setInterval(() => res.write('data: x\n\n'), 100)
      res.on('close', () => clearInterval(timer))
      return true
    }
    if (pathname.endsWith('/slow')) await new Promise((resolve) => setTimeout(resolve, Number(searchParams.get('ms') ?? 1000)))
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ nonce, user: req.headers['x-auth-user'] ?? null }))
    return true
  })
  // longer than the gateway keeps a connection: no request meets a close
  upstream.server.keepAliveTimeout = 120_000
  atEnd(() => upstream.close())
  return upstream
}
