/** Express: the caller of a request that came through the gateway. Needs the package `jose`. */
import { createRemoteJWKSet, jwtVerify } from 'jose'

/**
 * Verifies X-Auth-Assertion and sets `request.caller`. The caller is null when the gateway let an anonymous request pass.
 * @param {{ issuer: string, audience: string, jwksUri: string }} options `audience`: this service, as the gateway's route names it
 */
export function portcullis({ issuer, audience, jwksUri }) {
  const keys = createRemoteJWKSet(new URL(jwksUri))
  const rules = { issuer, audience, typ: 'assertion+jwt', algorithms: ['ES256', 'EdDSA', 'RS256'] }
  return async (request, response, next) => {
    const assertion = request.get('x-auth-assertion')
    request.caller = null
    if (assertion === undefined) return next()
    try {
      const { payload } = await jwtVerify(assertion, keys, rules)
      request.caller = {
        id: payload.sub,
        roles: payload.roles,
        scopes: payload.scope.split(' ').filter(Boolean),
        session: payload.sid ?? null,
        // the assertion proves that the gateway sent the request, so its headers are the gateway's
        email: decoded(request.get('x-auth-email')),
      }
    } catch {
      return response.status(401).json({ error: 'The assertion is not valid.' })
    }
    next()
  }
}

/** The gateway percent-encodes the UTF-8 of each value. */
const decoded = (value) => (value === undefined ? null : decodeURIComponent(value))
