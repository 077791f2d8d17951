/** Invitations, for administrators. admin.routes.ts requires the role. */

import { Type } from 'typebox'
import { ROLE_NAME } from '../../platform/config/schema.ts'
import { answers, BEARER, documented, NEEDS_ADMIN, NEEDS_RECENT_ADMIN, PathId, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { Email } from '../users/schemas.ts'
import type { Administration } from './administration.service.ts'
import { MAX_INVITATION_SECONDS } from './invitation-actions.ts'
import { actorOf } from './users.routes.ts'
import { InvitationSchema, invitationViewOf } from './views.ts'

const ofInvitation = Type.Object({ id: PathId })

export const invitationsRoutes =
  ({ administration }: { administration: Administration }) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/admin/invitations',
      {
        config: { name: 'auth.admin.invitations' },
        schema: {
          summary: 'The open invitations, newest first',
          description: `Lists invitations that nobody has accepted yet, also expired ones until the cleanup. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({ invitations: Type.Array(InvitationSchema) }) }, [401, 403]),
        },
      },
      async () => ({ invitations: (await administration.invitations()).map(invitationViewOf) }),
    )

    app.post(
      '/admin/invitations',
      {
        config: { name: 'auth.admin.invitations' },
        schema: {
          summary: 'Invite a person by mail; an earlier invitation of the address is replaced',
          description: `The mail holds a link that makes an account, or gives the roles to the account that the address has. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: strictBody({
            email: Email,
            roles: Type.Optional(
              Type.Array(documented(Type.String({ maxLength: 63 }), { pattern: ROLE_NAME }), {
                maxItems: 100,
                description: 'Roles of your own. Default: user.',
              }),
            ),
            expires_in_seconds: Type.Optional(
              Type.Integer({ minimum: 300, maximum: MAX_INVITATION_SECONDS, description: 'Default: a week.' }),
            ),
          }),
          response: answers({ 201: InvitationSchema }, [401, 403, 422]),
        },
      },
      async (request, reply) => {
        const { email, roles = [], expires_in_seconds: expiresInSeconds } = request.body
        return reply.code(201).send(invitationViewOf(await administration.invite({ email, roles, expiresInSeconds }, actorOf(request))))
      },
    )

    app.post(
      '/admin/invitations/:id/resend',
      {
        config: { name: 'auth.admin.invitation' },
        schema: {
          summary: 'Mail a new link; the link before is no longer valid',
          description: `The invitation lives as long again as it did at first. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: ofInvitation,
          body: strictBody({}),
          response: answers({ 200: InvitationSchema }, [401, 403, 404, 422]),
        },
      },
      async (request) => invitationViewOf(await administration.resendInvitation(request.params.id, actorOf(request))),
    )

    app.delete(
      '/admin/invitations/:id',
      {
        config: { name: 'auth.admin.invitation' },
        schema: {
          summary: 'Withdraw an invitation',
          description: `Its link is no longer valid. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: ofInvitation,
          body: strictBody({}),
          response: answers({ 204: Type.Null() }, [401, 403, 404]),
        },
      },
      async (request, reply) => {
        await administration.withdrawInvitation(request.params.id, actorOf(request))
        return reply.code(204).send(null)
      },
    )
  }
