/** The endpoints for the caller's own account. */

import { Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { answers, BEARER, NEEDS_STEP_UP, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth } from '../access/require-auth.ts'
import { Code, Email, Password, Renewed, usernameField } from '../users/schemas.ts'
import { OwnUserSchema } from '../users/user-view.ts'
import type { createAccountDeletion } from './account-deletion.service.ts'
import type { createPasswordChange } from './password-change.service.ts'
import type { createProfile } from './profile.service.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface MeRoutesDeps {
  profile: ReturnType<typeof createProfile>
  changePassword: ReturnType<typeof createPasswordChange>
  deleteAccount: ReturnType<typeof createAccountDeletion>
  sessionAnswers: SessionAnswers
  requireAuth: RequireAuth
  usernames: Config['auth']['username']
}

export const meRoutes =
  ({ profile, changePassword, deleteAccount, sessionAnswers, requireAuth, usernames }: MeRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/me',
      {
        config: { name: 'auth.me' },
        schema: {
          summary: 'Your account',
          description: "Shows the user with username, e-mail address, roles and public metadata. Needs a user's access token.",
          security: BEARER,
          response: answers({ 200: OwnUserSchema }, [401]),
        },
      },
      async (request) => profile.get((await requireAuth(request, { allowIncomplete: true })).id),
    )

    app.patch(
      '/me',
      {
        config: { name: 'auth.me' },
        schema: {
          summary: 'Change your username or e-mail address',
          description: `Changes the fields that are sent. A new e-mail address needs \`current_password\`. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: Type.Object(
            {
              ...usernameField(usernames === 'off' ? 'off' : 'optional'),
              email: Type.Optional(Email),
              current_password: Type.Optional(Password),
              code: Type.Optional(Code),
            },
            { additionalProperties: false, minProperties: 1 },
          ),
          response: answers({ 200: OwnUserSchema }, [401, 403, 409, 422, 429]),
        },
        // runs before the body is validated: a caller who is not signed in learns nothing about its form
        onRequest: async (request) => void (await requireAuth(request)),
      },
      (request) => profile.change(principalOf(request), request.body, contextOf(request.raw)),
    )

    app.delete(
      '/me',
      {
        config: { name: 'auth.me' },
        schema: {
          summary: 'Delete your account with all personal data',
          description: `Logs you out everywhere and frees your names. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: strictBody({ current_password: Type.Optional(Password), code: Type.Optional(Code) }),
          response: answers({ 204: Type.Null() }, [401, 403, 409, 422, 429]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => {
        await deleteAccount(principalOf(request), request.body, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )

    app.post(
      '/password/change',
      {
        config: { name: 'auth.password.change' },
        schema: {
          summary: 'Change your password; every other session ends',
          description: `Sets a new password, and gives the tokens of a new session. Needs the current password, if there is one. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: strictBody({
            current_password: Type.Optional(Password),
            new_password: Password,
            code: Type.Optional(Code),
            ...sessionAnswers.fields,
          }),
          response: answers({ 200: Renewed }, [401, 409, 422, 429, 503]),
        },
        onRequest: async (request) => void (await requireAuth(request, { allowIncomplete: true })),
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        return sessionAnswers.send(request, reply, await changePassword(principalOf(request), request.body, contextOf(request.raw)))
      },
    )
  }
