/** The OAuth endpoints: /token (RFC 6749), /introspect (RFC 7662), /revoke (RFC 7009). Bodies are forms, and errors follow RFC 6749. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { documented } from '../../platform/http/endpoint.ts'
import { type Form, readForm } from '../../platform/http/form.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { ASSERTION_TYPE } from './client-assertion.ts'
import type { OAuthRequest } from './client-authentication.ts'
import type { createIntrospection } from './introspection.service.ts'
import type { createTokenGrant } from './token-grant.service.ts'
import type { createTokenRevocation } from './token-revocation.service.ts'

export interface OAuthRoutesDeps {
  grantToken: ReturnType<typeof createTokenGrant>
  introspect: ReturnType<typeof createIntrospection>
  revokeToken: ReturnType<typeof createTokenRevocation>
}

const FORM = 'application/x-www-form-urlencoded'
const Text = Type.Optional(Type.String())
/** RFC 6749 §3.2: an empty parameter counts as left out. */
const Token = Type.Optional(documented(Type.String(), { minLength: 1 }))
/** An alternative to HTTP Basic. Unknown parameters are ignored (RFC 6749 §3.2). */
const ClientCredentials = {
  client_id: Text,
  client_secret: Text,
  client_assertion: Text,
  client_assertion_type: Type.Optional(documented(Type.String(), { const: ASSERTION_TYPE })),
}
/** HTTP Basic, or a credential in the form, which OpenAPI has no name for. */
const CLIENT = [{ client: [] }, {}]
const OAuthErrorSchema = Type.Object({ error: Type.String(), error_description: Type.String() }, { title: 'OAuthError' })
const failures = (...statuses: number[]) => Object.fromEntries(statuses.map((status) => [status, OAuthErrorSchema]))

const TokenSchema = Type.Object(
  {
    access_token: Type.String(),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer({ description: 'Seconds.' }),
    scope: Type.String(),
  },
  { title: 'AccessToken' },
)
const IntrospectionSchema = Type.Object(
  {
    active: Type.Boolean(),
    iss: Text,
    aud: Text,
    sub: Text,
    roles: Type.Optional(Type.Array(Type.String())),
    scope: Text,
    iat: Type.Optional(Type.Integer()),
    exp: Type.Optional(Type.Integer()),
    jti: Text,
    sid: Text,
    client_id: Text,
    username: Text,
    token_type: Text,
  },
  // the claims of tokens.claims
  { title: 'Introspection', additionalProperties: true },
)

export const oauthRoutes =
  ({ grantToken, introspect, revokeToken }: OAuthRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser(FORM, { parseAs: 'string' }, async (_request: FastifyRequest, text: string) => readForm(text))
    app.addContentTypeParser('*', async () => {
      throw problem('invalid_request', { detail: `Send the body as ${FORM}.` })
    })
    // a missing body counts as an empty form
    app.addHook('preValidation', async (request) => {
      request.body ??= {}
    })
    // RFC 6749 §5.1
    app.addHook('onRequest', async (_request, reply) => void reply.header('pragma', 'no-cache'))

    const oauthRequestOf = (request: FastifyRequest): OAuthRequest => ({
      authorization: request.headers.authorization,
      form: request.body as Form,
      context: contextOf(request.raw),
    })

    app.post(
      '/token',
      {
        config: { name: 'auth.token', errors: 'oauth' },
        schema: {
          summary: 'An access token for a machine client (RFC 6749 §4.4)',
          description:
            'Issues an access token for `grant_type=client_credentials`. Needs the credential of a machine client: HTTP Basic, a secret in the form, or a signed assertion.',
          security: CLIENT,
          consumes: [FORM],
          body: documented(
            Type.Object({
              grant_type: Type.Optional(documented(Type.String(), { const: 'client_credentials' })),
              scope: Text,
              ...ClientCredentials,
            }),
            { required: ['grant_type'], additionalProperties: { type: 'string' } },
          ),
          response: { 200: TokenSchema, ...failures(400, 401, 429, 503) },
        },
      },
      (request) => grantToken(oauthRequestOf(request)),
    )

    app.post(
      '/introspect',
      {
        config: { name: 'auth.introspect', errors: 'oauth' },
        schema: {
          summary: 'Whether a token is active, and its claims (RFC 7662); for machine clients with the scope introspect',
          description: 'Tells whether a token would be accepted now. Needs the credential of a machine client with the scope `introspect`.',
          security: CLIENT,
          consumes: [FORM],
          body: documented(Type.Object({ token: Token, token_type_hint: Text, ...ClientCredentials }), {
            required: ['token'],
            additionalProperties: { type: 'string' },
          }),
          response: { 200: IntrospectionSchema, ...failures(400, 401, 403, 429, 503) },
        },
      },
      (request) => introspect(oauthRequestOf(request)),
    )

    app.post(
      '/revoke',
      {
        config: { name: 'auth.revoke', errors: 'oauth' },
        schema: {
          summary: 'Revoke a token (RFC 7009); a refresh token ends its session',
          description:
            'Ends an access token, a refresh token or an API key; the token itself is enough. A token of a machine client also needs the credential of that client.',
          security: CLIENT,
          consumes: [FORM],
          body: documented(Type.Object({ token: Token, token_type_hint: Text, ...ClientCredentials }), {
            required: ['token'],
            additionalProperties: { type: 'string' },
          }),
          response: { 200: Type.Object({}), ...failures(400, 401, 429, 503) },
        },
      },
      async (request) => {
        await revokeToken(oauthRequestOf(request))
        return {}
      },
    )
  }
