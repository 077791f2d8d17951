/** For those who come without TLS: Strict-Transport-Security, and the way to https. */
import http, { type IncomingMessage } from 'node:http'
import type { Config } from '../platform/config/schema.ts'
import { readHost, readTarget } from './routing/request-target.ts'

/** RFC 6797. Null: not to be sent. */
export function strictTransport({ publicUrl, hsts }: Config['server']): string | null {
  if (!publicUrl.startsWith('https:') || hsts.maxAgeSeconds === 0) return null
  return `max-age=${hsts.maxAgeSeconds}${hsts.includeSubDomains ? '; includeSubDomains' : ''}`
}

/**
 * Where a request belongs that came without TLS. A Host of the routes is kept; any other is the client's claim, and gives way to publicUrl.
 * Null: the target cannot be repeated.
 */
export function createHttpsLocation({ server, routes }: Config): (req: IncomingMessage) => string | null {
  const known = new Set(routes.flatMap(({ match }) => (match.host ? [match.host.toLowerCase()] : [])))
  const { host: publicHost, port } = new URL(server.publicUrl)
  return (req) => {
    const target = readTarget(req.url ?? '')
    if (typeof target === 'string') return null
    const host = readHost(req.headers.host) ?? ''
    return `https://${known.has(host) ? `${host}${port && `:${port}`}` : publicHost}${target.path}${target.query}`
  }
}

/** A listener of plain HTTP that knows one answer. */
export function createRedirectServer(config: Config): http.Server {
  const locationOf = createHttpsLocation(config)
  const server = http.createServer({ maxHeaderSize: 8192, requestTimeout: 10_000, headersTimeout: 10_000 }, (req, res) => {
    const location = locationOf(req)
    req.resume()
    if (location === null) res.writeHead(400, { connection: 'close', 'content-length': 0 }).end()
    else res.writeHead(308, { location, connection: 'close', 'content-length': 0 }).end()
  })
  server.maxConnections = 1000
  server.on('upgrade', (_req, socket) => socket.destroy())
  return server
}
