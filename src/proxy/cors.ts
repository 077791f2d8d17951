/**
 * Cross-origin requests (Fetch standard §3.2), for the gateway's own endpoints and for routes. Without configured origins, CORS is left to
 * the upstreams.
 */
import type { FastifyRequest } from 'fastify'
import type { Config } from '../platform/config/schema.ts'

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE'
const EXPOSED = 'x-request-id, retry-after, ratelimit, ratelimit-policy'

/**
 * @param fields the fields of every response; CORS fields are added. @returns true for a preflight, whose response has only these fields
 */
export type AddCors = (request: FastifyRequest, fields: string[]) => boolean

export function createCors({ origins, credentials, maxAgeSeconds }: Config['cors']): AddCors {
  if (!origins.length) return () => false
  const any = origins.includes('*')
  const allowed = new Set(origins.map((o) => o.toLowerCase()))

  return ({ method, headers }, fields) => {
    if (!any) fields.push('vary', 'Origin')
    const { origin } = headers
    if (origin === undefined) return false
    const isPreflight = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
    if (any || allowed.has(origin.toLowerCase())) {
      fields.push('access-control-allow-origin', any ? '*' : origin)
      if (credentials) fields.push('access-control-allow-credentials', 'true')
      if (isPreflight) {
        const asked = headers['access-control-request-headers']
        fields.push('access-control-allow-methods', METHODS, 'access-control-max-age', String(maxAgeSeconds))
        if (asked) fields.push('access-control-allow-headers', asked)
      } else fields.push('access-control-expose-headers', EXPOSED)
    }
    return isPreflight
  }
}
