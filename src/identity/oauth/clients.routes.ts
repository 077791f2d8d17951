/** The endpoints for machine clients. They require the role `admin`. */

import { Type } from 'typebox'
import { ROLE_NAME } from '../../platform/config/schema.ts'
import { answers, BEARER, documented, NEEDS_ADMIN, NEEDS_RECENT_ADMIN, OrNull, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import type { RequireAuth } from '../access/require-auth.ts'
import { actorOf } from '../admin/users.routes.ts'
import { type Clients, SCOPE } from './clients.service.ts'

const Instant = OrNull(Timestamp)
const Jwks = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) }, { additionalProperties: false })
const ClientSchema = Type.Object(
  {
    id: Type.String({ format: 'uuid', description: 'The client_id.' }),
    name: Type.String(),
    auth_method: Type.Union([Type.Literal('client_secret'), Type.Literal('private_key_jwt')]),
    jwks: Type.Union([Jwks, Type.Null()]),
    roles: Type.Array(Type.String()),
    scopes: Type.Array(Type.String()),
    disabled: Type.Boolean(),
    created_at: Timestamp,
    last_used_at: Instant,
  },
  { title: 'MachineClient' },
)
const WithSecret = Type.Object({
  client: ClientSchema,
  client_secret: Type.Optional(Type.String({ description: 'Only this answer shows the secret.' })),
})
const names = (pattern: string) => Type.Array(documented(Type.String({ minLength: 1, maxLength: 200 }), { pattern }), { maxItems: 200 })
const Fields = {
  name: documented(Type.String({ minLength: 1, maxLength: 64 }), { pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$' }),
  roles: Type.Optional(names(ROLE_NAME)),
  scopes: Type.Optional(names(SCOPE.source)),
  jwks: Type.Optional({
    ...Jwks,
    documented: { properties: { keys: { type: 'array', items: { type: 'object' }, minItems: 1, maxItems: 8 } } },
    description: 'RFC 7517: public keys, which replace the secret.',
  }),
}

export const clientRoutes =
  ({ clients, requireAuth }: { clients: Clients; requireAuth: RequireAuth }) =>
  async (app: FastifyTypeProviderTypebox) => {
    const config = { name: 'auth.admin.clients' }
    const params = Type.Object({
      id: documented(Type.String({ description: 'The client_id, or the name.' }), { pattern: '^[^/\\\\\\u0000-\\u001f\\u007f-\\u009f]+$' }),
    })
    // runs before the body is validated: only an admin learns whether it is valid
    app.addHook('onRequest', async (request) => void (await requireAuth(request, { role: 'admin' })))

    app.get(
      '/admin/clients',
      {
        config,
        schema: {
          summary: 'The machine clients, in the order of their names',
          description: `Lists all machine clients with their roles and scopes, without secrets. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({ clients: Type.Array(ClientSchema) }) }, [401, 403]),
        },
      },
      async () => ({ clients: await clients.list() }),
    )

    app.post(
      '/admin/clients',
      {
        config,
        schema: {
          summary: 'Register a machine client, with a secret or with public keys',
          description: `Creates a client for \`/token\`; without \`jwks\` the answer shows its secret once. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: Type.Object(Fields, { additionalProperties: false }),
          response: answers({ 201: WithSecret }, [401, 403, 422]),
        },
      },
      async (request, reply) => reply.code(201).send(await clients.create(request.body, actorOf(request))),
    )

    app.patch(
      '/admin/clients/:id',
      {
        config,
        schema: {
          summary: 'Change a machine client; its tokens end',
          description: `Changes the fields that are sent; other fields stay. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params,
          body: Type.Partial(Type.Object(Fields), { additionalProperties: false, minProperties: 1 }),
          response: answers({ 200: ClientSchema }, [401, 403, 404, 422]),
        },
      },
      (request) => clients.update(request.params.id, request.body, actorOf(request)),
    )

    app.post(
      '/admin/clients/:id/rotate-secret',
      {
        config,
        schema: {
          summary: 'Give a machine client a new secret, which replaces its old secret or its keys; its tokens end',
          description: `Shows the new secret once; the old credential is refused from now on. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params,
          response: answers({ 200: WithSecret }, [401, 403, 404]),
        },
      },
      (request) => clients.rotateSecret(request.params.id, actorOf(request)),
    )

    for (const action of ['disable', 'enable'] as const) {
      app.post(
        `/admin/clients/:id/${action}`,
        {
          config,
          schema: {
            summary: action === 'disable' ? 'Disable a machine client; its tokens end' : 'Enable a machine client again',
            description: `${action === 'disable' ? 'Refuses the credential and the tokens of the client.' : 'Accepts the credential of the client again.'} ${NEEDS_RECENT_ADMIN}`,
            security: BEARER,
            params,
            response: answers({ 200: ClientSchema }, [401, 403, 404]),
          },
        },
        (request) => clients[action](request.params.id, actorOf(request)),
      )
    }

    app.delete(
      '/admin/clients/:id',
      {
        config,
        schema: {
          summary: 'Remove a machine client; its tokens end',
          description: `Deletes the client for good; its credential is refused from now on. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params,
          response: answers({ 204: Type.Null() }, [401, 403, 404]),
        },
      },
      async (request, reply) => {
        await clients.remove(request.params.id, actorOf(request))
        return reply.code(204).send(null)
      },
    )
  }
