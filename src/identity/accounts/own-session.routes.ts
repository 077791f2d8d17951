/** The session of the caller: what a page asks when it is loaded, and its end. */

import { Type } from 'typebox'
import { answers, BEARER, Id, OPTIONAL_BEARER, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { CrossSite } from '../access/cross-site.ts'
import { type RequireAuth, requireSession } from '../access/require-auth.ts'
import { UserSchema } from '../users/user-view.ts'
import type { createLogout } from './logout.service.ts'
import type { OwnSession } from './own-session.service.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface OwnSessionRoutesDeps {
  ownSession: OwnSession
  logout: ReturnType<typeof createLogout>
  sessionAnswers: SessionAnswers
  crossSite: CrossSite
  requireAuth: RequireAuth
}

const SessionState = Type.Object({
  user: UserSchema,
  session: Type.Object({ id: Id, amr: Type.Array(Type.String()), expires_at: Timestamp }),
})

export const ownSessionRoutes =
  ({ ownSession, logout, sessionAnswers, crossSite, requireAuth }: OwnSessionRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/session',
      {
        config: { name: 'auth.own-session' },
        schema: {
          summary: 'Who is logged in',
          description: 'Shows the user and the session of this request. Needs a session cookie or an access token.',
          security: BEARER,
          response: answers({ 200: SessionState }, [401]),
        },
      },
      async (request) => ownSession(await requireAuth(request, { allowIncomplete: true })),
    )

    app.delete(
      '/session',
      {
        config: { name: 'auth.own-session' },
        schema: {
          summary: 'Log out',
          description:
            'Ends the session of this request, and clears the cookie. Needs a session cookie or an access token; a session that has ended is no error.',
          security: OPTIONAL_BEARER,
          response: answers({ 204: Type.Null() }, [401, 403]),
        },
      },
      async (request, reply) => {
        const context = contextOf(request.raw)
        const principal = await requireAuth.optional(request)
        const isByToken = principal !== null && principal.cookieId === null
        if (!isByToken) crossSite.requireTrustedOrigin(request.raw, context.client)
        if (principal) {
          requireSession(principal)
          await logout({ sessionId: principal.sessionId, userId: principal.id }, 'session', context)
        }
        if (!isByToken) sessionAnswers.clear(request, reply)
        return reply.code(204).send(null)
      },
    )
  }
