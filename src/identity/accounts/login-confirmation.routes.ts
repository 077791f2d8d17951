/** The endpoint for the link that a login needs after an administrator has removed the second factor. */

import { Type } from 'typebox'
import { answers, NO_CREDENTIAL, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { LinkDetails } from './links.ts'
import type { LoginConfirmation } from './login-confirmation.service.ts'

export const loginConfirmationRoutes =
  ({ details, confirm }: LoginConfirmation) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.post(
      '/login/confirm/details',
      {
        config: { name: 'auth.login.confirm.details' },
        schema: {
          summary: 'The login that the token of a mailed link would allow',
          description:
            'Names the account of the login, and when and on what device somebody logged in. Needs the token of the mailed login link.',
          security: NO_CREDENTIAL,
          body: strictBody({ token: Type.String({ minLength: 1, maxLength: 256 }) }),
          response: answers({ 200: LinkDetails }, [400, 422, 429, 503]),
        },
      },
      (request) => details(request.body.token, contextOf(request.raw)),
    )

    app.post(
      '/login/confirm',
      {
        config: { name: 'auth.login.confirm' },
        schema: {
          summary: 'Allow the next login with the token of the mailed link',
          description:
            'For a login that was answered with `email_confirmation_required`; the user logs in afterwards. Needs the token of the mailed link, and no other credential.',
          security: NO_CREDENTIAL,
          body: strictBody({ token: Type.String({ minLength: 1, maxLength: 256 }) }),
          response: answers({ 204: Type.Null() }, [400, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        await confirm(request.body.token, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )
  }
