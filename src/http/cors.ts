/** Cross-origin requests (Fetch standard §3.2), for our own endpoints and for routes alike. Without origins everything is left to the upstreams. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config/schema.ts'

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE'
const EXPOSED = 'x-request-id, retry-after, ratelimit, ratelimit-policy'

/** @returns true when the request was a preflight, and has been answered */
export type AnswerCors = (request: FastifyRequest, reply: FastifyReply) => boolean

export function createCors({ origins, credentials, maxAgeSeconds }: Config['cors']): AnswerCors {
  if (!origins.length) return () => false
  const any = origins.includes('*')
  const allowed = new Set(origins.map((o) => o.toLowerCase()))

  return ({ method, headers }, reply) => {
    if (!any) reply.header('vary', 'Origin')
    const { origin } = headers
    if (origin === undefined) return false
    const isPreflight = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
    if (any || allowed.has(origin.toLowerCase())) {
      reply.header('access-control-allow-origin', any ? '*' : origin)
      if (credentials) reply.header('access-control-allow-credentials', 'true')
      if (isPreflight) {
        const asked = headers['access-control-request-headers']
        reply.headers({ 'access-control-allow-methods': METHODS, 'access-control-max-age': String(maxAgeSeconds) })
        if (asked) reply.header('access-control-allow-headers', asked)
      } else reply.header('access-control-expose-headers', EXPOSED)
    }
    // a browser takes a preflight without headers as a no
    if (isPreflight) reply.code(204).send()
    return isPreflight
  }
}
