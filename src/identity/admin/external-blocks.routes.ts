/** The endpoints that block subjects and tokens of other issuers. `admin.routes.ts` requires the role `admin`. */

import { Type } from 'typebox'
import { answers, BEARER, NEEDS_ADMIN, NEEDS_RECENT_ADMIN, OrNull, strictBody, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import type { Administration } from './administration.service.ts'
import { actorOf } from './users.routes.ts'

const Target = strictBody({
  issuer: Type.String({ minLength: 1, maxLength: 512, description: 'The id of the issuer in the configuration, or its `iss`.' }),
  sub: Type.Optional(Type.String({ minLength: 1, maxLength: 512, description: 'The subject, as its tokens have it.' })),
  jti: Type.Optional(Type.String({ minLength: 1, maxLength: 512, description: 'The id of one token.' })),
})

const BlockSchema = Type.Object({
  issuer: Type.String(),
  sub: Type.Optional(Type.String()),
  jti: Type.Optional(Type.String()),
  blocked_at: Timestamp,
  until: OrNull(Timestamp, { description: 'Null: until it is lifted.' }),
})

export const externalBlocksRoutes =
  ({ administration }: { administration: Administration }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/admin/external/blocks',
      {
        config: { name: 'auth.admin.external.blocks' },
        schema: {
          summary: 'The blocked subjects and tokens of other issuers, newest first',
          description: `Lists at most 1000 blocks that are in force. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({ blocks: Type.Array(BlockSchema) }) }, [401, 403]),
        },
      },
      async () => ({ blocks: await administration.externalBlocks() }),
    )

    app.post(
      '/admin/external/block',
      {
        config: { name: 'auth.admin.external.block' },
        schema: {
          summary: 'Block a subject or one token of another issuer',
          description: `Refuses the tokens within 2 seconds, and ends their streams. A subject stays blocked until \`unblock\`, a token for as long as any token lives. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: Target,
          response: answers({ 204: Type.Null() }, [401, 403, 422]),
        },
      },
      async (request, reply) => {
        await administration.blockExternal(request.body, actorOf(request))
        return reply.code(204).send(null)
      },
    )

    app.post(
      '/admin/external/unblock',
      {
        config: { name: 'auth.admin.external.unblock' },
        schema: {
          summary: 'Lift the block of a subject or token of another issuer',
          description: `Accepts the tokens again within 2 seconds. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: Target,
          response: answers({ 204: Type.Null() }, [401, 403, 404, 422]),
        },
      },
      async (request, reply) => {
        await administration.unblockExternal(request.body, actorOf(request))
        return reply.code(204).send(null)
      },
    )
  }
