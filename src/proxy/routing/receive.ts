/** The first look at a request, before Fastify routes it: reads the head strictly and looks up the target. */
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, METHODS } from 'node:http'
import { hasTwoCredentials } from '../../identity/access/request-credentials.ts'
import { systemClock } from '../../platform/lib/clock.ts'
import { type ErrorCode, type Problem, problem } from '../../platform/lib/errors.ts'
import type { Client } from '../../platform/request/client-address.ts'
import { attachContext } from '../../platform/request/request-context.ts'
import type { Exchange } from './exchange.ts'
import { matchTarget, readHost, readTarget, repeatedField } from './request-target.ts'
import type { RouteTable } from './route-table.ts'

/** All methods that Node knows, except CONNECT (a tunnel) and TRACE (shows our headers to the client). */
export const PROXIED_METHODS: readonly string[] = METHODS.filter((m) => m !== 'CONNECT' && m !== 'TRACE')
const KNOWN = new Set(PROXIED_METHODS)

/** Characters of a request target; a longer target answers 414. */
const MAX_TARGET = 8192
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/

export interface ReceiveDeps {
  table: RouteTable
  readClient: (req: IncomingMessage) => Client
  /** Fields of a header section; more answer 431. */
  maxHeaders: number
}

/** Makes the exchange of a request and attaches it. Never throws: an error becomes `refusal`. */
export type Receive = (req: IncomingMessage) => Exchange

export const createReceive =
  ({ table, readClient, maxHeaders }: ReceiveDeps): Receive =>
  (req) => {
    const given = req.headers['x-request-id']
    const client = readClient(req)
    const exchange: Exchange = {
      requestId: typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID(),
      startedAt: systemClock.steady(),
      client,
      ip: client.address,
      userAgent: req.headers['user-agent'] ?? null,
      host: '',
      target: null,
      refusal: null,
      node: null,
      route: null,
      label: 'none',
      principal: undefined,
      decisions: [],
      fields: [],
      error: null,
      upstream: null,
      upstreamCookie: null,
      expectsContinue: false,
      isUpgrade: false,
      onClosed: null,
    }
    attachContext(req, exchange)
    exchange.refusal = read(req, table, exchange, maxHeaders)
    return exchange
  }

function read(req: IncomingMessage, table: RouteTable, exchange: Exchange, maxHeaders: number): Problem | null {
  const refuse = (code: ErrorCode, cause: string) => problem(code, { cause })
  const url = req.url ?? ''
  if (!KNOWN.has(req.method ?? ''))
    return problem('method_not_allowed', { headers: { allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' } })
  if (url.length > MAX_TARGET) return refuse('target_too_long', `${url.length} characters`)
  if (req.rawHeaders.length > maxHeaders * 2) return refuse('headers_too_large', `${req.rawHeaders.length / 2} fields`)
  const repeated = repeatedField(req.rawHeaders)
  if (repeated) return problem('header_invalid', { detail: `The header ${repeated} is repeated. Send it once.` })
  if (hasTwoCredentials(req.headers))
    return problem('header_invalid', { detail: 'The request has two credentials. Send a bearer token, or an API key in x-api-key.' })
  if (!exchange.client.isReadable)
    return problem('header_invalid', { detail: 'The header forwarded is malformed. Send it in the form of RFC 7239.' })
  const host = readHost(req.headers.host)
  if (host === null) return problem('header_invalid', { detail: 'The header host is missing or malformed. Send the name of the server.' })
  exchange.host = host
  const target = readTarget(url)
  if (typeof target === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${target}.` })
  const node = matchTarget(table, host, target)
  if (typeof node === 'string') return problem('target_ambiguous', { detail: `The request target is refused: ${node}.` })
  exchange.target = target
  exchange.node = node
  return null
}
