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

export const hasCredential = (headers: IncomingHttpHeaders): boolean => isBearer(headers.authorization) || apiKeyOf(headers) !== null

/** A bearer token and an API key together do not name one caller. */
export const hasTwoCredentials = (headers: IncomingHttpHeaders): boolean =>
  headers['x-api-key'] !== undefined && isBearer(headers.authorization) && apiKeyOf(headers) !== null
