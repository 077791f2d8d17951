/** The endpoints for passkeys. `options` begins a ceremony of WebAuthn, and `verify` ends it; the JSON forms are those of WebAuthn L3 §5.1.8. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import {
  answers,
  BEARER,
  Id,
  NEEDS_STEP_UP,
  OPTIONAL_BEARER,
  OrNull,
  PathId,
  requireId,
  strictBody,
  Timestamp,
} from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { invalidField, Problem, problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { Principal } from '../access/principal.ts'
import { hasCredential } from '../access/request-credentials.ts'
import { principalOf, type RequireAuth, requireSession } from '../access/require-auth.ts'
import { Assertion, Attestation, assertionOf, attestationOf, FlowToken } from '../factors/passkey-answers.ts'
import type { Passkeys } from '../factors/passkeys.service.ts'
import { Code, Password, Tokens } from '../users/schemas.ts'
import { UserSchema } from '../users/user-view.ts'
import type { createLoginMfa } from './login-mfa.service.ts'
import type { PasskeyLogin } from './passkey-login.service.ts'
import type { createReauthentication } from './reauthentication.service.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface PasskeyRoutesDeps {
  passkeys: Passkeys
  passkeyLogin: PasskeyLogin
  loginMfa: ReturnType<typeof createLoginMfa>
  reauthenticate: ReturnType<typeof createReauthentication>
  sessionAnswers: SessionAnswers
  requireAuth: RequireAuth
}

const Options = Type.Object(
  {
    flow_token: Type.String({ description: 'For `verify`, within 5 minutes.' }),
    options: Type.Object({}, { additionalProperties: true, description: 'For `navigator.credentials`.' }),
  },
  { title: 'PasskeyOptions' },
)
const Name = Type.String({ minLength: 1, maxLength: 64, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$' })
const PasskeySchema = Type.Object(
  {
    id: Id,
    name: Type.String(),
    created_at: Timestamp,
    last_used_at: OrNull(Timestamp),
    backed_up: Type.Boolean({ description: 'The device keeps a copy elsewhere.' }),
    credential_id: Type.String(),
  },
  { title: 'Passkey' },
)
const LoggedIn = Type.Union([
  Type.Intersect([Tokens, Type.Object({ device_token: Type.Optional(Type.String()) })]),
  Type.Object({ user: UserSchema, device_token: Type.Optional(Type.String()) }),
])
const ofPasskey = Type.Object({ id: PathId })

export const passkeyRoutes =
  ({ passkeys, passkeyLogin, loginMfa, reauthenticate, sessionAnswers, requireAuth }: PasskeyRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    // a caller who still owes a second factor may set one up here
    const admit = async (request: FastifyRequest) => {
      const principal = await requireAuth(request, { allowIncomplete: true })
      if (principal.mustChangePassword) throw problem('password_change_required')
    }

    /** The session of a cookie that has ended keeps nobody from logging in. */
    async function callerOf(request: FastifyRequest): Promise<Principal | null> {
      try {
        return await requireAuth.optional(request)
      } catch (error) {
        if (error instanceof Problem && error.status === 401 && !hasCredential(request.headers)) return null
        throw error
      }
    }

    app.post(
      '/passkeys/login/options',
      {
        config: { name: 'auth.passkeys.login.options', countsByAddress: true },
        schema: {
          summary: 'Begin a login with a passkey',
          description:
            'Names no user. Needs nothing for a login, an `mfa_token` for its second step, or an access token for a new proof of who the user is.',
          security: OPTIONAL_BEARER,
          body: strictBody({ mfa_token: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })) }),
          response: answers({ 200: Options }, [401, 403, 422, 429, 503]),
        },
        // before the body is read: a page of another site is refused
        onRequest: async (request) => void (await callerOf(request)),
      },
      async (request) => {
        const { mfa_token } = request.body
        if (mfa_token !== undefined) return passkeyLogin.optionsForFactor(mfa_token, contextOf(request.raw))
        const principal = await callerOf(request)
        if (!principal) return passkeyLogin.optionsForLogin()
        requireSession(principal)
        return passkeyLogin.optionsAgain(principal)
      },
    )

    app.post(
      '/passkeys/login/verify',
      {
        config: { name: 'auth.passkeys.login.verify' },
        schema: {
          summary: 'Log in with a passkey',
          description:
            'Opens the session. Needs what the options needed: nothing, the `mfa_token`, or the access token. With the last it answers as `/reauthenticate` does.',
          security: OPTIONAL_BEARER,
          body: strictBody({
            flow_token: FlowToken,
            credential: Assertion,
            mfa_token: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
            device_token: Type.Optional(Type.String({ maxLength: 512 })),
            ...sessionAnswers.fields,
          }),
          response: answers({ 200: LoggedIn }, [401, 403, 422, 429, 503]),
        },
        // before the body is read: a page of another site is refused
        onRequest: async (request) => void (await callerOf(request)),
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        const { flow_token, credential, mfa_token, ...rest } = request.body
        const context = contextOf(request.raw)
        const passkey = { flow_token, credential: assertionOf(credential) }
        if (mfa_token !== undefined) return sessionAnswers.send(request, reply, await loginMfa({ ...rest, mfa_token, passkey }, context))
        const principal = await callerOf(request)
        if (!principal) return sessionAnswers.send(request, reply, await passkeyLogin.login({ ...rest, ...passkey }, context))
        requireSession(principal)
        const { device_token, ...choice } = rest
        if (device_token !== undefined) throw invalidField('device_token', 'not_allowed', 'is not needed by a user who is logged in')
        return sessionAnswers.send(request, reply, await reauthenticate(principal, { ...choice, passkey }, context))
      },
    )

    app.post(
      '/passkeys/register/options',
      {
        config: { name: 'auth.passkeys.register.options' },
        schema: {
          summary: 'Begin to add a passkey',
          description: `The same session ends it with \`verify\`. ${NEEDS_STEP_UP}`,
          security: BEARER,
          body: strictBody({ current_password: Type.Optional(Password), code: Type.Optional(Code) }),
          response: answers({ 200: Options }, [401, 403, 409, 422, 429, 503]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => {
        const { current_password: password, code } = request.body
        return passkeys.begin(principalOf(request), { password, code }, contextOf(request.raw))
      },
    )

    app.post(
      '/passkeys/register/verify',
      {
        config: { name: 'auth.passkeys.register.verify' },
        schema: {
          summary: 'Add the passkey',
          description:
            'The first factor of an account ends every other session, and the answer shows backup codes once. Needs an access token of the session that asked for the options.',
          security: BEARER,
          body: strictBody({ flow_token: FlowToken, credential: Attestation, name: Type.Optional(Name) }),
          response: answers(
            { 200: Type.Object({ passkey: PasskeySchema, backup_codes: Type.Optional(Type.Array(Type.String())) }) },
            [401, 403, 409, 422, 429, 503],
          ),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      async (request, reply) => {
        const { flow_token, credential, name } = request.body
        const answer = { flow_token, credential: attestationOf(credential), name }
        return sessionAnswers.send(request, reply, await passkeys.finish(principalOf(request), answer, contextOf(request.raw)))
      },
    )

    app.get(
      '/passkeys',
      {
        config: { name: 'auth.passkeys' },
        schema: {
          summary: 'Your passkeys',
          description:
            "Lists the passkeys. `rp_id`, `user_handle` and the ids are for `PublicKeyCredential.signalAllAcceptedCredentials`. Needs a user's access token.",
          security: BEARER,
          response: answers(
            {
              200: Type.Object({
                passkeys: Type.Array(PasskeySchema),
                rp_id: Type.String(),
                user_handle: OrNull(Type.String()),
              }),
            },
            [401],
          ),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => passkeys.list(principalOf(request)),
    )

    app.patch(
      '/passkeys/:id',
      {
        config: { name: 'auth.passkey' },
        schema: {
          summary: 'Rename a passkey',
          description: "Gives a passkey of yours another name. Needs a user's access token.",
          security: BEARER,
          params: ofPasskey,
          body: strictBody({ name: Name }),
          response: answers({ 200: PasskeySchema }, [401, 404, 422]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      (request) => passkeys.rename(principalOf(request), requireId(request.params.id), request.body.name, contextOf(request.raw)),
    )

    app.delete(
      '/passkeys/:id',
      {
        config: { name: 'auth.passkey' },
        schema: {
          summary: 'Remove a passkey; every other session ends, and issued access tokens are refused',
          description: `A passkey that is the last way to log in stays: 409 \`last_credential\`. ${NEEDS_STEP_UP}`,
          security: BEARER,
          params: ofPasskey,
          body: strictBody({ current_password: Type.Optional(Password), code: Type.Optional(Code) }),
          response: answers({ 204: Type.Null() }, [401, 404, 409, 422, 429]),
        },
        onRequest: async (request) => void (await admit(request)),
      },
      async (request, reply) => {
        const { current_password: password, code } = request.body
        await passkeys.remove(principalOf(request), requireId(request.params.id), { password, code }, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )
  }
