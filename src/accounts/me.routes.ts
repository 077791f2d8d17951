/** The own account. */
import { Type } from 'typebox'
import { exchangeOf } from '../gateway/exchange.ts'
import type { FastifyTypeProviderTypebox } from '../http/type-provider.ts'
import type { createPasswordChange } from './password-change.service.ts'
import type { createProfile } from './profile.service.ts'
import { answers, type Caller, originOf, Password, strictBody, Tokens, UserSchema } from './schemas.ts'

export interface MeRoutesDeps {
  profile: ReturnType<typeof createProfile>
  changePassword: ReturnType<typeof createPasswordChange>
  caller: Caller
}

export const meRoutes =
  ({ profile, changePassword, caller }: MeRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    const bearer = [{ bearer: [] }]

    app.get(
      '/me',
      {
        config: { name: 'auth.me' },
        schema: { summary: 'The own account', security: bearer, response: answers({ 200: UserSchema }, [401]) },
      },
      async (request) => profile.get((await caller.demand(request, { mayHaveToChangePassword: true })).id),
    )

    app.patch(
      '/me',
      {
        config: { name: 'auth.me' },
        schema: {
          summary: 'Change username or e-mail address',
          security: bearer,
          body: Type.Object(
            {
              username: Type.Optional(Type.String({ maxLength: 64 })),
              email: Type.Optional(Type.String({ maxLength: 254 })),
              current_password: Type.Optional(Password),
            },
            { additionalProperties: false, minProperties: 1 },
          ),
          response: answers({ 200: UserSchema }, [401, 403, 409, 422, 429]),
        },
        // before the body is looked at: who is not signed in learns nothing of its form
        onRequest: async (request) => void (await caller.demand(request)),
      },
      (request) => {
        const { client, principal } = exchangeOf(request.raw)
        return profile.change(principal!, request.body, client, originOf(request))
      },
    )

    app.post(
      '/password/change',
      {
        config: { name: 'auth.password.change' },
        schema: {
          summary: 'Change the password; every other session ends',
          security: bearer,
          body: strictBody({ current_password: Password, new_password: Password }),
          response: answers({ 200: Tokens }, [401, 422, 429, 503]),
        },
        onRequest: async (request) => void (await caller.demand(request, { mayHaveToChangePassword: true })),
      },
      (request) => {
        const { client, principal } = exchangeOf(request.raw)
        return changePassword(principal!, request.body, client, originOf(request))
      },
    )
  }
