/** The endpoints for administrators. This file requires the role `admin` for all of them. */

import { Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { withoutSecrets } from '../../platform/config/shown.ts'
import type { ReadReplica } from '../../platform/db/database.ts'
import { answers, BEARER, documented, NEEDS_ADMIN, NEEDS_RECENT_ADMIN, strictBody, Timestamp } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import type { ErrorRecord } from '../../platform/telemetry/error-record.ts'
import type { RequireAuth } from '../access/require-auth.ts'
import type { Administration } from './administration.service.ts'
import { auditRoutes } from './audit.routes.ts'
import { externalBlocksRoutes } from './external-blocks.routes.ts'
import { invitationsRoutes } from './invitations.routes.ts'
import { actorOf, usersRoutes } from './users.routes.ts'
import { KeySchema, keyViewOf } from './views.ts'

export interface AdminRoutesDeps {
  read: ReadReplica
  administration: Administration
  config: Config
  lastErrors: () => Promise<ErrorRecord[]>
  /** Registers the endpoints for administrators that ask the proxy. */
  registerExplain: (app: FastifyTypeProviderTypebox) => Promise<void>
  requireAuth: RequireAuth
}

const ErrorRecordSchema = Type.Object({
  timestamp: Timestamp,
  request_id: Type.String(),
  code: Type.String(),
  status: Type.Integer(),
  route: Type.String(),
  method: Type.String(),
  cause: Type.String(),
})

export const adminRoutes =
  ({ read, administration, config, lastErrors, registerExplain, requireAuth }: AdminRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    // runs before the request is validated: only an admin learns whether it is valid
    app.addHook('onRequest', async (request) => void (await requireAuth(request, { role: 'admin' })))
    app.addHook('preValidation', async (request) => {
      const ids = Object.entries(request.params as Record<string, string>).filter(([name]) => /^(?:id|.*Id)$/.test(name))
      if (!ids.every(([, id]) => isId(id))) throw problem('not_found')
    })

    await app.register(usersRoutes({ administration, usernames: config.auth.username }))
    await app.register(auditRoutes({ read }))
    await app.register(invitationsRoutes({ administration }))
    await app.register(externalBlocksRoutes({ administration }))
    await app.register(registerExplain)

    app.get(
      '/admin/keys',
      {
        config: { name: 'auth.admin.keys' },
        schema: {
          summary: 'The signing keys',
          description: `Lists the keys that sign access tokens, with their states and times. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({ keys: Type.Array(KeySchema) }) }, [401, 403]),
        },
      },
      async () => ({ keys: (await administration.keys()).map(keyViewOf) }),
    )

    app.post(
      '/admin/keys/rotate',
      {
        config: { name: 'auth.admin.keys.rotate' },
        schema: {
          summary: 'Publish a new signing key; `now` is for a key that leaked',
          description: `Adds a key to the JWKS. The key signs after verifiers had time to learn it. With \`now\` the key that signs is removed instead. Its access tokens are refused at once, also the caller's, and sessions go on with a refresh. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: strictBody({ now: Type.Optional(Type.Boolean()) }),
          response: answers({ 200: KeySchema }, [401, 403, 422]),
        },
      },
      async (request) => keyViewOf(await administration.rotateKey({ now: request.body.now ?? false }, actorOf(request))),
    )

    app.post(
      '/admin/keys/:kid/revoke',
      {
        config: { name: 'auth.admin.keys.revoke' },
        schema: {
          summary: 'Remove a signing key at once',
          description: `Every token of the key is refused at once. When the key is the one that signs, its successor signs. Answers with the key that signs. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: Type.Object({ kid: documented(Type.String({ maxLength: 64 }), { pattern: '^[0-9a-f]+$' }) }),
          body: strictBody({}),
          response: answers({ 200: KeySchema }, [401, 403, 404, 422]),
        },
      },
      async (request) => keyViewOf(await administration.revokeKey(request.params.kid, actorOf(request))),
    )

    app.get(
      '/admin/errors',
      {
        config: { name: 'auth.admin.errors' },
        schema: {
          summary: 'The last 100 errors, newest first, with their causes',
          description: `Lists recent errors with the private cause that clients do not see. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({ errors: Type.Array(ErrorRecordSchema) }) }, [401, 403]),
        },
      },
      async () => ({ errors: await lastErrors() }),
    )

    const shown = withoutSecrets(config)
    app.get(
      '/admin/config',
      {
        config: { name: 'auth.admin.config' },
        schema: {
          summary: 'The configuration in force, with all defaults and without secrets',
          description: `Shows every setting as the gateway uses it. ${NEEDS_ADMIN}`,
          security: BEARER,
          response: answers({ 200: Type.Object({}, { additionalProperties: true }) }, [401, 403]),
        },
      },
      async () => shown as Record<string, unknown>,
    )
  }
