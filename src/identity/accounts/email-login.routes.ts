/** The endpoints of the login by a mailed code or link. */

import { Type } from 'typebox'
import { answers, NO_CREDENTIAL, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { proofOfWorkField } from '../credentials/proof-of-work.ts'
import { Address, Code } from '../users/schemas.ts'
import { ByCookie, ByTokens, DeviceToken, MfaRequired } from './auth.routes.ts'
import type { EmailLogins } from './email-login.service.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface EmailLoginRoutesDeps {
  emailLogins: EmailLogins
  sessionAnswers: SessionAnswers
}

export const emailLoginRoutes =
  ({ emailLogins: { request: begin, byCode, byLink }, sessionAnswers }: EmailLoginRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.post(
      '/login/email',
      {
        config: { name: 'auth.login.email' },
        schema: {
          summary: 'Ask for a code and a link that log in; the answer is the same for every address',
          description: 'Mails both if the address has an account. Keep `flow_token`: the code works with it alone. Needs no credential.',
          security: NO_CREDENTIAL,
          body: strictBody({ email: Address, ...proofOfWorkField }),
          response: answers({ 202: Type.Object({ status: Type.Literal('accepted'), flow_token: Type.String() }) }, [403, 422, 429, 503]),
        },
      },
      async (request, reply) => reply.code(202).send(await begin(request.body, contextOf(request.raw))),
    )

    app.post(
      '/login/email/verify',
      {
        config: { name: 'auth.login.email.verify' },
        schema: {
          summary: 'Log in with a mailed code, or with the token of the mailed link',
          description:
            'Send `flow_token` and `code`, or `token`. Answers as `/login` does: a second factor is still asked for. Needs no other credential.',
          security: NO_CREDENTIAL,
          body: strictBody({
            flow_token: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'From `/login/email`.' })),
            code: Type.Optional(Code),
            token: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'Of the link.' })),
            device_token: Type.Optional(DeviceToken),
            ...sessionAnswers.fields,
          }),
          response: answers({ 200: Type.Union([ByTokens, ByCookie, MfaRequired]) }, [400, 401, 403, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        const { flow_token, code, token, ...choice } = request.body
        const context = contextOf(request.raw)
        if (token !== undefined) {
          if (flow_token !== undefined || code !== undefined)
            throw invalidField('token', 'not_allowed', 'stands alone: send no code with it')
          return sessionAnswers.send(request, reply, await byLink({ ...choice, token }, context))
        }
        if (flow_token === undefined) throw invalidField('flow_token', 'required', 'is missing')
        if (code === undefined) throw invalidField('code', 'required', 'is missing')
        return sessionAnswers.send(request, reply, await byCode({ ...choice, flow_token, code }, context))
      },
    )
  }
