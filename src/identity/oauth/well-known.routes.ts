/** Publishes what verifiers of our tokens need: the keys (RFC 7517) and the metadata (RFC 8414). */
import type { FastifyInstance } from 'fastify'
import type { Config } from '../../platform/config/schema.ts'
import type { Keyring } from '../tokens/keyring.ts'
import { ASSERTION_ALGORITHMS } from './client-keys.ts'

const CLIENT_AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']

export const wellKnownRoutes =
  ({ keyring, config }: { keyring: Keyring; config: Config }) =>
  async (app: FastifyInstance) => {
    const { publicUrl } = config.server
    const { prefix } = config.auth

    app.get('/.well-known/jwks.json', { config: { name: 'jwks' }, schema: { hide: true } }, async (_request, reply) =>
      reply
        .header('cache-control', `public, max-age=${config.tokens.jwksMaxAgeSeconds}`)
        .type('application/jwk-set+json')
        .send(JSON.stringify(keyring.jwks())),
    )

    app.get('/.well-known/oauth-authorization-server', { config: { name: 'metadata' }, schema: { hide: true } }, async (_request, reply) =>
      reply.header('cache-control', 'public, max-age=300').send({
        issuer: config.tokens.issuer,
        jwks_uri: `${publicUrl}/.well-known/jwks.json`,
        // no authorization endpoint of RFC 6749 is served: people log in at the endpoints below
        response_types_supported: [],
        token_endpoint: `${publicUrl}${prefix}/token`,
        grant_types_supported: ['client_credentials'],
        token_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
        token_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
        introspection_endpoint: `${publicUrl}${prefix}/introspect`,
        introspection_endpoint_auth_methods_supported: CLIENT_AUTH_METHODS,
        introspection_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
        revocation_endpoint: `${publicUrl}${prefix}/revoke`,
        revocation_endpoint_auth_methods_supported: [...CLIENT_AUTH_METHODS, 'none'],
        revocation_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
        service_documentation: config.docs.enabled ? `${publicUrl}${prefix}/docs` : undefined,
        portcullis_login_endpoint: `${publicUrl}${prefix}/login`,
        portcullis_refresh_endpoint: `${publicUrl}${prefix}/refresh`,
      }),
    )
  }
