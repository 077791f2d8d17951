/** The endpoints for the caller's own second factor. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { answers, BEARER, NEEDS_STEP_UP, strictBody } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth } from '../access/require-auth.ts'
import { Code, Password } from '../users/schemas.ts'
import type { createEnrolment } from './enrolment.service.ts'

export interface MfaRoutesDeps {
  enrolment: ReturnType<typeof createEnrolment>
  /** Moves the cookie of an answer into the headers. */
  sendCookie: <A extends object>(request: FastifyRequest, reply: FastifyReply, answer: A) => Omit<A, 'cookie'>
  requireAuth: RequireAuth
}

const ProofBody = strictBody({ password: Type.Optional(Password), code: Type.Optional(Code) })
const BackupCodes = Type.Object({ backup_codes: Type.Array(Type.String()) })

export const mfaRoutes =
  ({ enrolment, sendCookie, requireAuth }: MfaRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    // a caller who still owes a second factor may use these endpoints, to set it up
    const admit = async (request: FastifyRequest) => {
      const principal = await requireAuth(request, { allowIncomplete: true })
      if (principal.mustChangePassword) throw problem('password_change_required')
    }

    app.get(
      '/mfa',
      {
        config: { name: 'auth.mfa' },
        schema: {
          summary: 'Whether a second factor is set up',
          description: "Shows whether an authenticator app is set up, and how many backup codes are left. Needs a user's access token.",
          security: BEARER,
          response: answers(
            { 200: Type.Object({ totp: Type.Boolean(), passkeys: Type.Integer(), backup_codes_left: Type.Integer() }) },
            [401],
          ),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => enrolment.status(principalOf(request)),
    )

    app.post(
      '/mfa/totp',
      {
        config: { name: 'auth.mfa.totp' },
        schema: {
          summary: 'Begin to set up an authenticator app',
          description: `Gives the secret as text, as an address and as a QR code; it counts after \`/mfa/totp/confirm\`. Needs the password, if there is one. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: ProofBody,
          response: answers(
            { 200: Type.Object({ secret: Type.String(), otpauth_uri: Type.String(), qr_svg: Type.String() }) },
            [401, 409, 422, 429],
          ),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => enrolment.enrol(principalOf(request), request.body, contextOf(request.raw)),
    )

    app.post(
      '/mfa/totp/confirm',
      {
        config: { name: 'auth.mfa.totp.confirm' },
        schema: {
          summary:
            'Confirm the app with its first code; every other session ends, and the next access token of this session shows the factor',
          description: "Finishes the set-up, and shows ten backup codes once. Needs a user's access token and a code of the app.",
          security: BEARER,
          body: strictBody({ code: Code }),
          response: answers({ 200: BackupCodes }, [401, 409, 422, 429]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      async (request, reply) =>
        sendCookie(request, reply, await enrolment.confirm(principalOf(request), request.body.code, contextOf(request.raw))),
    )

    app.delete(
      '/mfa/totp',
      {
        config: { name: 'auth.mfa.totp' },
        schema: {
          summary: 'Remove the second factor; every other session ends, and issued access tokens are refused',
          description: `Turns the second factor off. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: ProofBody,
          response: answers({ 204: Type.Null() }, [401, 409, 422, 429]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      async (request, reply) => {
        await enrolment.disable(principalOf(request), request.body, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )

    app.post(
      '/mfa/backup-codes',
      {
        config: { name: 'auth.mfa.backup-codes' },
        schema: {
          summary: 'Replace the backup codes with ten new codes',
          description: `Makes the old backup codes invalid. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: ProofBody,
          response: answers({ 200: BackupCodes }, [401, 409, 422, 429]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => enrolment.renewCodes(principalOf(request), request.body, contextOf(request.raw)),
    )
  }
