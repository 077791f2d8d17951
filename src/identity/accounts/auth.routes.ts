/** The endpoints for registration, login, refresh and logout. The services hold the logic. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { answers, BEARER, NO_CREDENTIAL, OPTIONAL_BEARER, strictBody } from '../../platform/http/endpoint.ts'
import { hasLeft } from '../../platform/http/has-left.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth, requireSession } from '../access/require-auth.ts'
import { proofOfWorkField } from '../credentials/proof-of-work.ts'
import { Code, Email, Password, Pending, Renewed, Tokens, usernameField } from '../users/schemas.ts'
import { UserSchema } from '../users/user-view.ts'
import type { createLogin } from './login.service.ts'
import type { createLoginMfa } from './login-mfa.service.ts'
import type { createLogout, SessionProof } from './logout.service.ts'
import type { createReauthentication } from './reauthentication.service.ts'
import type { createRefresh } from './refresh.service.ts'
import type { createRegister } from './register.service.ts'
import type { SessionAnswers } from './session-answers.ts'

export interface AuthRoutesDeps {
  register: ReturnType<typeof createRegister>
  login: ReturnType<typeof createLogin>
  loginMfa: ReturnType<typeof createLoginMfa>
  reauthenticate: ReturnType<typeof createReauthentication>
  refresh: ReturnType<typeof createRefresh>
  logout: ReturnType<typeof createLogout>
  sessionAnswers: SessionAnswers
  requireAuth: RequireAuth
  usernames: Config['auth']['username']
}

export const DeviceToken = Type.String({ maxLength: 512 })
export const ByTokens = Type.Intersect([Tokens, Type.Object({ device_token: Type.String() })], { title: 'LoginTokens' })
export const ByCookie = Type.Object({ user: UserSchema, device_token: Type.String() }, { title: 'LoginCookie' })
// the first schema that fits is taken: a cookie's answer is a part of the answer with tokens
const LoggedIn = Type.Union([ByTokens, ByCookie])
export const MfaRequired = Type.Object(
  { mfa_required: Type.Literal(true), mfa_token: Type.String(), methods: Type.Array(Type.String()) },
  { title: 'MfaRequired' },
)
const RefreshToken = Type.String({ minLength: 1, maxLength: 4096 })
const OptionalRefreshToken = strictBody({ refresh_token: Type.Optional(RefreshToken) })

export const authRoutes =
  ({ register, login, loginMfa, reauthenticate, refresh, logout, sessionAnswers, requireAuth, usernames }: AuthRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.post(
      '/register',
      {
        config: { name: 'auth.register' },
        schema: {
          summary: 'Register a user',
          description:
            'Creates an account and logs in. With `emailVerification: required` it mails a link and answers 202. Needs no credential.',
          security: NO_CREDENTIAL,
          body: strictBody({
            ...usernameField(usernames),
            email: Email,
            password: Password,
            ...proofOfWorkField,
            ...sessionAnswers.fields,
          }),
          response: answers({ 201: LoggedIn, 202: Pending }, [403, 409, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        const registered = await register(request.body, contextOf(request.raw))
        if ('status' in registered) return reply.code(202).send(registered)
        return reply.code(201).send(sessionAnswers.send(request, reply, registered))
      },
    )

    app.post(
      '/login',
      {
        config: { name: 'auth.login' },
        schema: {
          summary: 'Log in by e-mail address or username',
          description:
            'Opens a session. A user with a second factor gets an `mfa_token` for `/login/mfa` instead of tokens. Needs no credential.',
          security: NO_CREDENTIAL,
          body: strictBody({
            login: Type.String({ minLength: 1, maxLength: 254, examples: ['ann', 'ann@example.com'] }),
            password: Password,
            device_token: Type.Optional(DeviceToken),
            ...proofOfWorkField,
            ...sessionAnswers.fields,
          }),
          response: answers({ 200: Type.Union([ByTokens, ByCookie, MfaRequired]) }, [401, 403, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        return sessionAnswers.send(request, reply, await login(request.body, contextOf(request.raw)))
      },
    )

    app.post(
      '/login/mfa',
      {
        config: { name: 'auth.login.mfa' },
        schema: {
          summary: 'Finish a login with a code of the app, or with a backup code',
          description: 'Opens the session of a login that asked for a second factor. Needs the `mfa_token` of that login.',
          security: NO_CREDENTIAL,
          body: strictBody({
            mfa_token: Type.String({ minLength: 1, maxLength: 4096 }),
            code: Code,
            device_token: Type.Optional(DeviceToken),
            ...sessionAnswers.fields,
          }),
          response: answers({ 200: LoggedIn }, [401, 403, 422, 429, 503]),
        },
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        return sessionAnswers.send(request, reply, await loginMfa(request.body, contextOf(request.raw)))
      },
    )

    app.post(
      '/reauthenticate',
      {
        config: { name: 'auth.reauthenticate' },
        schema: {
          summary: 'Enter the password again, and a code if a second factor is set up; a new session replaces this session',
          description:
            "Proves again who the user is, for an action that asks for a recent login. Needs a user's access token and the password.",
          security: BEARER,
          body: strictBody({ password: Type.Optional(Password), code: Type.Optional(Code), ...sessionAnswers.fields }),
          response: answers({ 200: Renewed }, [401, 422, 429, 503]),
        },
        onRequest: async (request) => void (await requireAuth(request, { allowIncomplete: true })),
      },
      async (request, reply) => {
        sessionAnswers.checkChoice(request, request.body)
        return sessionAnswers.send(request, reply, await reauthenticate(principalOf(request), request.body, contextOf(request.raw)))
      },
    )

    app.post(
      '/refresh',
      {
        config: { name: 'auth.refresh' },
        schema: {
          summary: 'Exchange a refresh token for its successor',
          description: 'Gives a new access token and a new refresh token. Needs the newest refresh token of the session, in the body.',
          security: NO_CREDENTIAL,
          body: strictBody({ refresh_token: RefreshToken }),
          response: answers({ 200: Type.Omit(Tokens, ['user']) }, [401, 422, 429, 503]),
        },
      },
      ({ body, raw }) => refresh(body.refresh_token, contextOf(raw), () => hasLeft(raw)),
    )

    for (const [path, scope] of [
      ['/logout', 'session'],
      ['/logout-all', 'all'],
    ] as const) {
      app.post(
        path,
        {
          config: { name: `auth${path.replace('/', '.')}` },
          schema: {
            summary: scope === 'all' ? 'End every session of the user' : 'End the session',
            description: `${scope === 'all' ? 'Logs the user out everywhere.' : 'Logs the user out of this session alone.'} Needs a user's access token or the \`refresh_token\` of the session.`,
            security: OPTIONAL_BEARER,
            body: OptionalRefreshToken,
            response: answers({ 204: Type.Null() }, [401, 403]),
          },
        },
        async (request, reply) => {
          const proof = await proofOf(request)
          await logout(proof, scope, contextOf(request.raw))
          if (proof.isByCookie) sessionAnswers.clear(request, reply)
          return reply.code(204).send(null)
        },
      )
    }

    /** @returns the session of a valid access token, else the refresh token of the body */
    async function proofOf(request: FastifyRequest): Promise<SessionProof & { isByCookie?: boolean }> {
      const refreshToken = (request.body as { refresh_token?: string }).refresh_token
      const principal = await requireAuth.optional(request).catch((error) => {
        if (refreshToken) return null
        throw error
      })
      if (principal) {
        requireSession(principal)
        return { sessionId: principal.sessionId, userId: principal.id, isByCookie: principal.cookieId !== null }
      }
      if (refreshToken) return { refreshToken }
      throw problem('token_missing', { detail: 'Send an access token or a refresh_token.' })
    }
  }
