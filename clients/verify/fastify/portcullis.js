/** Fastify: the caller of a request that came through the gateway. Needs the package `jose`. */
import { createRemoteJWKSet, jwtVerify } from 'jose'

/**
 * Verifies X-Auth-Assertion and sets `request.caller`. The caller is null when the gateway let an anonymous request pass.
 * @param {import('fastify').FastifyInstance} app
 * @param {{ issuer: string, audience: string, jwksUri: string }} options `audience`: this service, as the gateway's route names it
 */
export function portcullis(app, { issuer, audience, jwksUri }) {
  const keys = createRemoteJWKSet(new URL(jwksUri))
  const rules = { issuer, audience, typ: 'assertion+jwt', algorithms: ['ES256', 'EdDSA', 'RS256'] }
  app.decorateRequest('caller', null)
  app.addHook('onRequest', async (request, reply) => {
    const assertion = request.headers['x-auth-assertion']
    if (assertion === undefined) return
    try {
      const { payload } = await jwtVerify(assertion, keys, rules)
      request.caller = {
        id: payload.sub,
        roles: payload.roles,
        scopes: payload.scope.split(' ').filter(Boolean),
        session: payload.sid ?? null,
        // the assertion proves that the gateway sent the request, so its headers are the gateway's
        email: decoded(request.headers['x-auth-email']),
      }
    } catch {
      return reply.code(401).send({ error: 'The assertion is not valid.' })
    }
  })
}

/** The gateway percent-encodes the UTF-8 of each value. */
const decoded = (value) => (value === undefined ? null : decodeURIComponent(value))
