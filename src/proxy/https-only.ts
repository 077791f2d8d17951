/** Requests without TLS get a redirect to https; requests with TLS get Strict-Transport-Security. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { AnswerHttpChallenge } from '../platform/acme/http-challenge.ts'
import type { Config } from '../platform/config/schema.ts'
import { setFields } from '../platform/http/fields.ts'
import { readWithoutOffer } from '../platform/http/upgrade-offer.ts'
import { linger } from '../platform/request/drain.ts'
import type { Received } from './routing/exchange.ts'
import { originForm, readHost, readTarget } from './routing/request-target.ts'
import { ANSWERED, type Answered, type Call } from './stages.ts'

/** RFC 6797. Null: the header is not sent. */
export function strictTransport({ publicUrl, hsts }: Config['server']): string | null {
  if (!publicUrl.startsWith('https:') || hsts.maxAgeSeconds === 0) return null
  return `max-age=${hsts.maxAgeSeconds}${hsts.includeSubDomains ? '; includeSubDomains' : ''}`
}

/**
 * The https location of a request that came without TLS. A Host that a route names is kept. Any other Host is an unverified claim of the
 * client: publicUrl replaces it. Null: the target cannot be repeated.
 */
function createHttpsLocation({ server, routes }: Config): (req: IncomingMessage) => string | null {
  const known = new Set(routes.flatMap(({ match }) => (match.host ? [match.host.toLowerCase()] : [])))
  const { host: publicHost, port } = new URL(server.publicUrl)
  return (req) => {
    const target = readTarget(originForm(req))
    if (typeof target === 'string') return null
    const host = readHost(req.headers.host) ?? ''
    return `https://${known.has(host) ? `${host}${port && `:${port}`}` : publicHost}${target.path}${target.query}`
  }
}

/** A stage: answers 308 to a request without TLS. */
export type RequireHttps = (exchange: Received, call: Call) => Answered | undefined

/** Does nothing unless `server.httpsOnly` is set. `/health` is answered over plain HTTP too, because probes use it. */
export function createRequireHttps(config: Config): RequireHttps {
  if (!config.server.httpsOnly) return () => undefined
  const locationOf = createHttpsLocation(config)
  return ({ client, target, fields }, { request, reply }) => {
    if (client.isSecure || target.path === '/health') return undefined
    setFields(reply, fields).code(308).header('location', locationOf(request.raw)).send()
    return ANSWERED
  }
}

/**
 * A listener of plain HTTP: it redirects every request.
 * @param configOf the configuration in force @param answerFirst answers challenges of an ACME server; null: no ACME
 */
export function createRedirectServer(configOf: () => Config, answerFirst: AnswerHttpChallenge | null = null): http.Server {
  let config = configOf()
  let locationOf = createHttpsLocation(config)
  function redirect(req: IncomingMessage, res: ServerResponse): void {
    if (configOf() !== config) {
      config = configOf()
      locationOf = createHttpsLocation(config)
    }
    const location = locationOf(req)
    // unread bytes of a body would reset the connection, and the answer would be lost
    if ('content-length' in req.headers || 'transfer-encoding' in req.headers) linger(req.socket)
    req.resume()
    if (location === null) res.writeHead(400, { connection: 'close', 'content-length': 0 }).end()
    else res.writeHead(308, { location, connection: 'close', 'content-length': 0 }).end()
  }
  const take = answerFirst ? (req: IncomingMessage, res: ServerResponse) => answerFirst(req, res, () => redirect(req, res)) : redirect
  const server = http.createServer({ maxHeaderSize: 8192, requestTimeout: 10_000, headersTimeout: 10_000 }, take)
  server.maxConnections = 1000
  server.on('upgrade', (req, socket, head) => readWithoutOffer(server, req, socket as Socket, head))
  return server
}
