/** What others need to verify our tokens: RFC 7517 keys, RFC 8414 metadata. */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config/schema.ts'
import type { Keyring } from './keyring.ts'

export const wellKnownRoutes =
  ({ keyring, config }: { keyring: Keyring; config: Config }) =>
  async (app: FastifyInstance) => {
    const { publicUrl } = config.server
    const { prefix } = config.auth

    app.get('/.well-known/jwks.json', { config: { name: 'jwks' }, schema: { hide: true } as never }, async (_request, reply) =>
      reply
        .header('cache-control', `public, max-age=${config.tokens.jwksMaxAgeSeconds}`)
        .type('application/jwk-set+json')
        .send(JSON.stringify(keyring.jwks())),
    )

    app.get(
      '/.well-known/oauth-authorization-server',
      { config: { name: 'metadata' }, schema: { hide: true } as never },
      async (_request, reply) =>
        reply.header('cache-control', 'public, max-age=300').send({
          issuer: config.tokens.issuer,
          jwks_uri: `${publicUrl}/.well-known/jwks.json`,
          // no authorization or token endpoint of RFC 6749 is served: clients log in at the endpoints below
          response_types_supported: [],
          grant_types_supported: [],
          service_documentation: config.docs.enabled ? `${publicUrl}${prefix}/docs` : undefined,
          portcullis_login_endpoint: `${publicUrl}${prefix}/login`,
          portcullis_refresh_endpoint: `${publicUrl}${prefix}/refresh`,
        }),
    )
  }
