/** The endpoints for programs around sign-in with a provider. The ways out and back are pages: see identity/pages/provider.pages.ts. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { PROVIDER_ID } from '../../platform/config/schema.ts'
import { answers, BEARER, documented, NEEDS_STEP_UP, NO_CREDENTIAL, strictBody, Timestamp } from '../../platform/http/endpoint.ts'
import { type Form, readForm } from '../../platform/http/form.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf, type RequireAuth } from '../access/require-auth.ts'
import { Code, Password } from '../users/schemas.ts'
import type { createBackchannelLogout } from './backchannel-logout.service.ts'
import type { FlowCookies } from './flow-cookies.ts'
import type { createLinkedLogins } from './linked-logins.service.ts'
import { logoutTokenInvalid } from './openid-provider.ts'
import type { Providers } from './providers.ts'
import type { SignIn } from './sign-in.service.ts'

export interface ProvidersRoutesDeps {
  providers: Providers
  signIn: SignIn
  linkedLogins: ReturnType<typeof createLinkedLogins>
  backchannelLogout: ReturnType<typeof createBackchannelLogout>
  flowCookies: FlowCookies
  /** @returns a path of our origin; null for every other target */
  returnTo(request: FastifyRequest, target: string | undefined): string | null
  authPrefix: string
  requireAuth: RequireAuth
}

const FORM = 'application/x-www-form-urlencoded'
const ofProvider = Type.Object({ id: documented(Type.String(), { pattern: PROVIDER_ID }) })
const PROOF = { current_password: Type.Optional(Password), code: Type.Optional(Code) }

export const providersRoutes =
  ({ providers, signIn, linkedLogins, backchannelLogout, flowCookies, returnTo, authPrefix, requireAuth }: ProvidersRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    const startUrl = (id: string) => `${authPrefix}/providers/${id}/start`

    app.get(
      '/providers',
      {
        config: { name: 'auth.providers' },
        schema: {
          summary: 'The providers that users sign in with',
          description: 'Names the providers in the order of their buttons. A browser opens `start_url`. Needs no credential.',
          security: NO_CREDENTIAL,
          response: answers(
            {
              200: Type.Object({
                providers: Type.Array(
                  Type.Object({ id: Type.String(), kind: Type.String(), label: Type.String(), start_url: Type.String() }),
                ),
              }),
            },
            [],
          ),
        },
      },
      async () => ({ providers: providers.list.map(({ id, kind, label }) => ({ id, kind, label, start_url: startUrl(id) })) }),
    )

    app.get(
      '/providers/linked',
      {
        config: { name: 'auth.providers.linked' },
        schema: {
          summary: 'Your linked logins',
          description: "Lists the logins at providers that log in to your account. Needs a user's access token.",
          security: BEARER,
          response: answers(
            {
              200: Type.Object({
                logins: Type.Array(
                  Type.Object({
                    provider: Type.String(),
                    label: Type.String(),
                    email: Type.Union([Type.String(), Type.Null()], { description: 'As the provider names it.' }),
                    created_at: Timestamp,
                    last_used_at: Timestamp,
                  }),
                ),
              }),
            },
            [401],
          ),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request) => ({ logins: await linkedLogins.list(principalOf(request).id) }),
    )

    app.post(
      '/providers/:id/link',
      {
        config: { name: 'auth.providers.link' },
        schema: {
          summary: 'Begin to link a login of a provider to your account',
          description: `Gives the URL that the browser opens next, and sets a cookie. The same session must come back. ${NEEDS_STEP_UP}`,
          security: BEARER,
          params: ofProvider,
          body: strictBody({ ...PROOF, return_to: Type.Optional(Type.String({ maxLength: 2048 })) }),
          response: answers({ 200: Type.Object({ url: Type.String() }) }, [401, 403, 404, 422, 429, 503]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => {
        const { current_password: password, code, return_to } = request.body
        const provider = providers.get(request.params.id)
        const context = contextOf(request.raw)
        const started = await signIn.link(provider, principalOf(request), { password, code }, returnTo(request, return_to), context)
        reply.header('set-cookie', flowCookies.toSet(request.raw, context.client, provider, started.flow))
        return { url: started.url.href }
      },
    )

    app.delete(
      '/providers/:id/link',
      {
        config: { name: 'auth.providers.link' },
        schema: {
          summary: 'Unlink a login of a provider; its other sessions end',
          description: `The last way to log in stays: 409 \`last_credential\`. ${NEEDS_STEP_UP}`,
          security: BEARER,
          params: ofProvider,
          body: strictBody(PROOF),
          response: answers({ 204: Type.Null() }, [401, 403, 404, 409, 422, 429]),
        },
        onRequest: async (request) => void (await requireAuth(request)),
      },
      async (request, reply) => {
        const { current_password: password, code } = request.body
        await linkedLogins.unlink(principalOf(request), request.params.id, { password, code }, contextOf(request.raw))
        return reply.code(204).send(null)
      },
    )

    await app.register(async (forms) => {
      forms.removeAllContentTypeParsers()
      forms.addContentTypeParser(FORM, { parseAs: 'string' }, async (_request: FastifyRequest, text: string) => readForm(text))
      forms.post(
        '/providers/:id/backchannel-logout',
        {
          config: { name: 'auth.providers.logout' },
          schema: {
            summary: 'A provider ends sessions (OpenID Connect Back-Channel Logout 1.0)',
            description:
              'Ends the session that the logout token names, or all sessions of its subject. Needs a logout token of the provider.',
            security: NO_CREDENTIAL,
            consumes: [FORM],
            params: ofProvider,
            body: documented(Type.Object({ logout_token: Type.Optional(Type.String()) }), {
              required: ['logout_token'],
              additionalProperties: { type: 'string' },
            }),
            response: answers({ 200: Type.Object({}) }, [400, 404, 429, 503]),
          },
        },
        async (request) => {
          const provider = providers.get((request.params as { id: string }).id)
          const { logout_token: token } = request.body as Form
          if (token === undefined) throw logoutTokenInvalid('it is missing')
          await backchannelLogout(provider, token, contextOf(request.raw))
          return {}
        },
      )
    })
  }
