/** The endpoints that prove e-mail addresses. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { answers, NO_CREDENTIAL, OPTIONAL_BEARER, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import type { RequireAuth } from '../access/require-auth.ts'
import { Accepted, Email, Password } from '../users/schemas.ts'
import { UserSchema } from '../users/user-view.ts'
import type { createEmailVerification } from './email-verification.service.ts'
import { LinkDetails } from './links.ts'

export interface EmailRoutesDeps {
  verification: ReturnType<typeof createEmailVerification>
  requireAuth: RequireAuth
}

export const emailRoutes =
  ({ verification, requireAuth }: EmailRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.post(
      '/email/verify',
      {
        config: { name: 'auth.email.verify' },
        schema: {
          summary: 'Prove an e-mail address with the token of the mailed link',
          description:
            'Finishes a registration or a change of address. Needs the token of the mailed link, and the password of the account or of the registration. Instead of the password, an account may use the access token of the session that asked for the link. A wrong password leaves the link valid.',
          security: OPTIONAL_BEARER,
          body: strictBody({ token: Type.String({ minLength: 1, maxLength: 512 }), password: Type.Optional(Password) }),
          response: answers({ 200: UserSchema }, [400, 401, 409, 422, 429, 503]),
        },
      },
      async (request) => verification.verify(request.body, await callerOf(request, request.body.password), contextOf(request.raw)),
    )

    app.post(
      '/email/verify/details',
      {
        config: { name: 'auth.email.verify.details' },
        schema: {
          summary: 'What the token of a mailed link would confirm',
          description: 'Names the account, and when and on what device the link was asked for. Needs the token of the mailed link.',
          security: NO_CREDENTIAL,
          body: strictBody({ token: Type.String({ minLength: 1, maxLength: 512 }) }),
          response: answers({ 200: LinkDetails }, [400, 422, 429, 503]),
        },
      },
      (request) => verification.details(request.body.token, contextOf(request.raw)),
    )

    app.post(
      '/email/verify/request',
      {
        config: { name: 'auth.email.verify.request' },
        schema: {
          summary: 'Ask for a new link, for your own account or for the address of a pending registration',
          description:
            "Mails another link; older links stay valid until they expire. Needs a user's access token, or the `email` of a pending registration.",
          security: OPTIONAL_BEARER,
          body: strictBody({ email: Type.Optional(Email) }),
          response: answers({ 202: Accepted }, [401, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        const { email } = request.body
        if (email !== undefined) await verification.requestByAddress(email, contextOf(request.raw))
        else await verification.request(await requireAuth(request, { allowIncomplete: true }), contextOf(request.raw))
        return reply.code(202).send({ status: 'accepted' })
      },
    )

    /** @returns the user of a valid access token. With a password, an access token is not needed, and need not be valid */
    async function callerOf(request: FastifyRequest, password: string | undefined): Promise<Principal | null> {
      const principal = await requireAuth.optional(request).catch((error) => {
        if (password !== undefined) return null
        throw error
      })
      return principal?.kind === 'user' ? principal : null
    }
  }
