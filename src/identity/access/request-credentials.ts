/** Which headers are credentials here. */
import type { IncomingHttpHeaders } from 'node:http'
import { holdsApiKey } from '../../platform/request/api-key-format.ts'

const BEARER_SCHEME = /^bearer(?: |$)/i
const BEARER = /^bearer +([^\s]+) *$/i

/** The one scheme that is a credential here. */
export const isBearer = (authorization: string | undefined): authorization is string =>
  authorization !== undefined && BEARER_SCHEME.test(authorization)

/** Undefined: not of the form `Bearer <token>`. */
export const bearerOf = (authorization: string): string | undefined => BEARER.exec(authorization)?.[1]

/** Null where X-Api-Key holds nothing of ours: then it is the upstream's, as any other header. */
export function apiKeyOf(headers: IncomingHttpHeaders): string | null {
  const value = headers['x-api-key']
  return typeof value === 'string' && holdsApiKey(value) ? value : null
}

export const hasCredential = (headers: IncomingHttpHeaders): boolean => isBearer(headers.authorization) || apiKeyOf(headers) !== null

/** Nobody could say who is meant. */
export const hasTwoCredentials = (headers: IncomingHttpHeaders): boolean =>
  headers['x-api-key'] !== undefined && isBearer(headers.authorization) && apiKeyOf(headers) !== null
