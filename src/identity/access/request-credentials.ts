/** Finds the credentials of this gateway in request headers. */
import type { IncomingHttpHeaders } from 'node:http'
import { holdsApiKey } from '../../platform/request/api-key-format.ts'

const BEARER_SCHEME = /^bearer(?: |$)/i
const BEARER = /^bearer +([^\s]+) *$/i

/** No other authentication scheme is a credential of this gateway. */
export const isBearer = (authorization: string | undefined): authorization is string =>
  authorization !== undefined && BEARER_SCHEME.test(authorization)

/** @returns the token; undefined when the header is not of the form `Bearer <token>` */
export const bearerOf = (authorization: string): string | undefined => BEARER.exec(authorization)?.[1]

/** @returns null when X-Api-Key holds no key of this gateway. The header then belongs to the upstream. */
export function apiKeyOf(headers: IncomingHttpHeaders): string | null {
  const value = headers['x-api-key']
  return typeof value === 'string' && holdsApiKey(value) ? value : null
}

/** Subprotocols of WebSockets that are between a page and this gateway. A page cannot set Authorization for a WebSocket. */
export const OWN_SUBPROTOCOL = 'portcullis'
const BEARER_SUBPROTOCOL = /^portcullis\.bearer\./i

const itemsOf = (offer: string): string[] =>
  offer
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)

const bearersIn = (offer: string): string[] =>
  itemsOf(offer)
    .filter((item) => BEARER_SUBPROTOCOL.test(item))
    .map((item) => item.replace(BEARER_SUBPROTOCOL, ''))

export const offersOwnSubprotocol = (headers: IncomingHttpHeaders): boolean =>
  itemsOf(headers['sec-websocket-protocol'] ?? '').includes(OWN_SUBPROTOCOL)

/** The offer that an upstream may see. Empty when nothing is left of it. */
export function withoutOwnSubprotocols(offer: string): string {
  const items = itemsOf(offer)
  const left = items.filter((item) => item !== OWN_SUBPROTOCOL && !BEARER_SUBPROTOCOL.test(item))
  return left.length === items.length ? offer : left.join(', ')
}

/** For the handshake of a WebSocket: a bearer among the subprotocols becomes the Authorization header. */
export function asBearerHeader(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const offer = headers['sec-websocket-protocol']
  const token = offer === undefined ? undefined : bearersIn(offer)[0]
  return token === undefined ? headers : { authorization: `Bearer ${token}` }
}

export const hasCredential = (headers: IncomingHttpHeaders): boolean => isBearer(headers.authorization) || apiKeyOf(headers) !== null

/** A bearer token and an API key together do not name one caller, and neither do two bearer tokens. */
export function hasTwoCredentials(headers: IncomingHttpHeaders): boolean {
  const offer = headers['sec-websocket-protocol']
  if (headers['x-api-key'] !== undefined && isBearer(headers.authorization) && apiKeyOf(headers) !== null) return true
  if (offer === undefined) return false
  const { length } = bearersIn(offer)
  return length > 1 || (length === 1 && hasCredential(headers))
}
