/** HTTPS here, and for those who come without it: certificates that renew, Strict-Transport-Security, and the way to https. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Config } from '../config/schema.ts'
import { readHost, readTarget } from '../gateway/canonical.ts'
import type { Logger } from '../logger.ts'

type Tls = NonNullable<Config['server']['tls']>

export interface Certificate {
  /** PEM. */
  cert: Buffer
  key: Buffer
  /** Milliseconds since the epoch. */
  notAfter: number
}

/** @throws when a file cannot be read, or the key is not the certificate's */
export function readCertificate({ cert: certFile, key: keyFile }: Tls): Certificate {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)]
    createSecureContext({ cert, key })
    return { cert, key, notAfter: Date.parse(new X509Certificate(cert).validTo) }
  } catch (error) {
    throw new Error(`server.tls: ${certFile} and ${keyFile} are no certificate with its key`, { cause: error })
  }
}

/** Looks at the files again and again: what renews certificates cannot always tell who uses them. @returns stops looking */
export function watchCertificate(
  tls: Tls,
  server: Server,
  first: Certificate,
  logger: Logger,
  onNew: (c: Certificate) => void,
): () => void {
  let last = first
  let hasFailed = false
  const timer = setInterval(() => {
    try {
      const next = readCertificate(tls)
      hasFailed = false
      if (next.cert.equals(last.cert) && next.key.equals(last.key)) return
      // connections that stand keep theirs
      server.setSecureContext({ cert: next.cert, key: next.key })
      last = next
      onNew(next)
      logger.info({ not_after: new Date(next.notAfter).toISOString() }, 'took the new certificate')
    } catch (error) {
      // one of two files may be written already: the old pair serves on
      if (!hasFailed) logger.error({ reason: 'certificate_unusable', cause: String((error as Error).cause) }, (error as Error).message)
      hasFailed = true
    }
  }, tls.reloadSeconds * 1000).unref()
  return () => clearInterval(timer)
}

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
