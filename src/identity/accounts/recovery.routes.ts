/** The endpoints for users who have forgotten their password. */

import { Type } from 'typebox'
import { answers, NO_CREDENTIAL, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { proofOfWorkField } from '../credentials/proof-of-work.ts'
import { Address, Password } from '../users/schemas.ts'
import { LinkDetails } from './links.ts'
import type { createRecovery } from './recovery.service.ts'

export const recoveryRoutes =
  ({ forgot, details, reset }: ReturnType<typeof createRecovery>) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.post(
      '/password/forgot',
      {
        config: { name: 'auth.password.forgot' },
        schema: {
          summary: 'Ask for a link that sets a new password; the answer is the same for every address',
          description: 'Mails a link if the address has an account. Needs no credential.',
          security: NO_CREDENTIAL,
          body: strictBody({ email: Address, ...proofOfWorkField }),
          response: answers({ 202: Type.Object({ status: Type.Literal('accepted') }) }, [403, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        await forgot(request.body, contextOf(request.raw))
        return reply.code(202).send({ status: 'accepted' })
      },
    )

    app.post(
      '/password/reset/details',
      {
        config: { name: 'auth.password.reset.details' },
        schema: {
          summary: 'The account whose password the token of a mailed link would set',
          description:
            'Names the account, and when and on what device the link was asked for. Needs the token of the mailed password link.',
          security: NO_CREDENTIAL,
          body: strictBody({ token: Type.String({ minLength: 1, maxLength: 256 }) }),
          response: answers({ 200: LinkDetails }, [400, 422, 429, 503]),
        },
      },
      (request) => details(request.body.token, contextOf(request.raw)),
    )

    app.post(
      '/password/reset',
      {
        config: { name: 'auth.password.reset' },
        schema: {
          summary: 'Set a new password with the token of a mailed link; every session and API key ends',
          description:
            'Replaces a forgotten password; the user logs in afterwards. With `keep_api_keys`, the API keys stay. The first proof of an address also removes second factors and API keys, since another person may have added them. Needs the token of the mailed link, and no other credential.',
          security: NO_CREDENTIAL,
          body: strictBody({
            token: Type.String({ minLength: 1, maxLength: 256 }),
            new_password: Password,
            keep_api_keys: Type.Optional(Type.Boolean()),
          }),
          response: answers({ 204: Type.Null() }, [400, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        await reset(request.body, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )
  }
