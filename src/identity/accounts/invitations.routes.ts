/** An invited person looks at an invitation, and accepts it. */

import { Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { answers, documented, NO_CREDENTIAL, strictBody, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { Password, Tokens, usernameField } from '../users/schemas.ts'
import { UserSchema } from '../users/user-view.ts'
import type { createInvitations } from './invitations.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface InvitationRoutesDeps {
  invitations: ReturnType<typeof createInvitations>
  sessionAnswers: SessionAnswers
  usernames: Config['auth']['username']
}

const ofToken = Type.Object({ token: documented(Type.String({ maxLength: 512 }), { maxLength: 100, pattern: '^[A-Za-z0-9_-]+$' }) })
const LoggedIn = Type.Union([
  Type.Intersect([Tokens, Type.Object({ device_token: Type.String() })]),
  Type.Object({ user: UserSchema, device_token: Type.String() }),
])

export const invitationRoutes =
  ({ invitations, sessionAnswers, usernames }: InvitationRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/invitations/:token',
      {
        config: { name: 'auth.invitation' },
        schema: {
          summary: 'Look at an invitation',
          description:
            'Shows the invited address, and whether it has an account. The invitation stays as it is. Needs the token of the mail.',
          security: NO_CREDENTIAL,
          params: ofToken,
          response: answers(
            {
              200: Type.Object({
                email: Type.String(),
                expires_at: Timestamp,
                has_account: Type.Boolean({ description: 'True: log in, and accept on the page.' }),
              }),
            },
            [400, 404, 429],
          ),
        },
      },
      ({ params, raw }) => invitations.details(params.token, contextOf(raw)),
    )

    app.post(
      '/invitations/:token',
      {
        config: { name: 'auth.invitation' },
        schema: {
          summary: 'Accept an invitation with a password',
          description: 'Makes the account of the invited address, and logs in. Needs the token of the mail.',
          security: NO_CREDENTIAL,
          params: ofToken,
          body: strictBody({ ...usernameField(usernames), password: Password, ...sessionAnswers.fields }),
          response: answers({ 201: LoggedIn }, [400, 403, 404, 409, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        const accepted = await invitations.accept(request.params.token, request.body, contextOf(request.raw))
        return reply.code(201).send(sessionAnswers.send(request, reply, accepted))
      },
    )
  }
