/** The endpoints for the caller's own sessions. */

import { Type } from 'typebox'
import { answers, BEARER, Id, OrNull, PathId, requireId, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth } from '../access/require-auth.ts'
import type { Sessions } from './sessions.service.ts'

export const SessionSchema = Type.Object(
  {
    id: Id,
    device: OrNull(Type.String()),
    ip: OrNull(Type.String()),
    country: OrNull(Type.String(), { description: 'Of the address at the login (ISO 3166-1). Null: unknown.' }),
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    mfa: Type.Boolean(),
  },
  { title: 'Session' },
)

export const sessionRoutes =
  ({ sessions, requireAuth }: { sessions: Sessions; requireAuth: RequireAuth }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/sessions',
      {
        config: { name: 'auth.sessions' },
        schema: {
          summary: 'Your sessions, the most recently used first',
          description: "Lists where you are logged in; `current` marks the session of this request. Needs a user's access token.",
          security: BEARER,
          response: answers(
            { 200: Type.Object({ sessions: Type.Array(Type.Intersect([SessionSchema, Type.Object({ current: Type.Boolean() })])) }) },
            [401],
          ),
        },
      },
      async (request) => {
        const { id, sessionId } = await requireAuth(request)
        return { sessions: (await sessions.list(id)).map((session) => ({ ...session, current: session.id === sessionId })) }
      },
    )

    app.delete(
      '/sessions',
      {
        config: { name: 'auth.sessions' },
        schema: {
          summary: 'End every session except this session',
          description: "Logs you out everywhere else; the tokens of those sessions are refused from now on. Needs a user's access token.",
          security: BEARER,
          response: answers({ 204: Type.Null() }, [401]),
        },
      },
      async (request, reply) => {
        await sessions.endOthers(await requireAuth(request), contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )

    app.delete(
      '/sessions/:id',
      {
        config: { name: 'auth.sessions' },
        schema: {
          summary: 'End one session',
          description: "Logs you out of one of your sessions; its tokens are refused from now on. Needs a user's access token.",
          security: BEARER,
          params: Type.Object({ id: PathId }),
          response: answers({ 204: Type.Null() }, [401, 404]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => {
        await sessions.end(principalOf(request).id, requireId(request.params.id), contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )
  }
