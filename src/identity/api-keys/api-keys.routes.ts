/** The endpoints for the caller's own API keys. */

import { Type } from 'typebox'
import { answers, BEARER, documented, Id, NEEDS_STEP_UP, OrNull, PathId, strictBody, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth } from '../access/require-auth.ts'
import { Code, Password } from '../users/schemas.ts'
import type { ApiKeys } from './api-keys.service.ts'

const Instant = OrNull(Timestamp)
export const ApiKeySchema = Type.Object(
  {
    id: Id,
    name: Type.String(),
    hint: Type.String({ description: 'The first characters of the key.' }),
    roles: Type.Array(Type.String()),
    scopes: Type.Array(Type.String()),
    created_at: Timestamp,
    expires_at: Instant,
    last_used_at: Instant,
  },
  { title: 'ApiKey' },
)
const Names = Type.Array(Type.String({ minLength: 1, maxLength: 200 }), { maxItems: 200, uniqueItems: true })

export const apiKeyRoutes =
  ({ apiKeys, requireAuth }: { apiKeys: ApiKeys; requireAuth: RequireAuth }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/api-keys',
      {
        config: { name: 'auth.api-keys' },
        schema: {
          summary: 'Your API keys, newest first',
          description: "Lists your keys with roles, scopes and times, without the keys themselves. Needs a user's access token.",
          security: BEARER,
          response: answers({ 200: Type.Object({ api_keys: Type.Array(ApiKeySchema) }) }, [401, 403]),
        },
      },
      async (request) => ({ api_keys: await apiKeys.list((await requireAuth(request)).id) }),
    )

    app.post(
      '/api-keys',
      {
        config: { name: 'auth.api-keys' },
        schema: {
          summary: 'Create an API key; only this answer shows the key',
          description: `Creates a key for a program that acts for you, with at most your own roles and scopes. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: strictBody({
            name: documented(Type.String({ pattern: '^[^\\p{Cc}\\p{Cs}]{1,64}$' }), {
              pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]{1,64}$',
            }),
            roles: Type.Optional({ ...Names, description: 'Without roles and scopes, the key gets all roles and scopes that you have.' }),
            scopes: Type.Optional({ ...Names, description: 'Without scopes, the key gets the scopes of its roles.' }),
            expires_at: Type.Optional(
              documented(Type.String({ maxLength: 64, description: 'RFC 3339. Without it, the key never expires.' }), {
                format: 'date-time',
              }),
            ),
            current_password: Type.Optional(Password),
            code: Type.Optional(Code),
          }),
          response: answers({ 201: Type.Interface([ApiKeySchema], { key: Type.String() }) }, [401, 403, 409, 422, 429]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => reply.code(201).send(await apiKeys.create(principalOf(request), request.body, contextOf(request.raw))),
    )

    app.delete(
      '/api-keys/:id',
      {
        config: { name: 'auth.api-keys' },
        schema: {
          summary: 'Revoke an API key: it is refused everywhere from now on',
          description: "Ends one of your own keys. Needs a user's access token.",
          security: BEARER,
          params: Type.Object({ id: PathId }),
          response: answers({ 204: Type.Null() }, [401, 403, 404]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => {
        await apiKeys.revoke(principalOf(request), request.params.id, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )
  }
