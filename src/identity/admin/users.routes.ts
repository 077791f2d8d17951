/** Users, for administrators. The actions are in administration.service.ts, and admin.routes.ts requires the role. */

import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { ROLE_NAME } from '../../platform/config/schema.ts'
import {
  answers,
  BEARER,
  documented,
  Id,
  Limit,
  limitOf,
  NEEDS_ADMIN,
  NEEDS_RECENT_ADMIN,
  OrNull,
  PathId,
  strictBody,
  Term,
} from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { ID_PATTERN } from '../../platform/lib/ids.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import { principalOf } from '../access/require-auth.ts'
import { SessionSchema } from '../accounts/sessions.routes.ts'
import { viewOfSession } from '../accounts/sessions.service.ts'
import { ApiKeySchema } from '../api-keys/api-keys.routes.ts'
import { viewOfApiKey } from '../api-keys/api-keys.service.ts'
import { JsonObject } from '../users/metadata.ts'
import { Email, Password, usernameField } from '../users/schemas.ts'
import type { User } from '../users/users.repo.ts'
import type { Administration } from './administration.service.ts'
import type { Actor } from './audited-action.ts'
import { ManagedUserSchema, managedViewOf } from './views.ts'

const NOTHING = strictBody({})
const Part = Type.Union([JsonObject, Type.Null()])
const MetadataBody = strictBody({ public: Type.Optional(Part), admin: Type.Optional(Part) })
const ofUser = Type.Object({ id: PathId })
const Role = documented(Type.String({ maxLength: 63 }), { pattern: ROLE_NAME })

/** The administrator of this request. */
export function actorOf(request: FastifyRequest): Actor {
  const principal = principalOf(request)
  return { actor: `user:${principal.id}`, context: contextOf(request.raw), principal }
}

export interface UsersRoutesDeps {
  administration: Administration
  usernames: Config['auth']['username']
}

export const usersRoutes =
  ({ administration, usernames }: UsersRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    app.get(
      '/admin/users',
      {
        config: { name: 'auth.admin.users' },
        schema: {
          summary: 'Users, newest first',
          description: `Gives one page of the users that match the filters; \`next_cursor\` leads to the next page. ${NEEDS_ADMIN}`,
          security: BEARER,
          querystring: strictBody({
            search: Type.Optional(Term(254, 'A part of the username or e-mail address, in any case; or an id.')),
            role: Type.Optional(Term(63, 'Finds users who were granted this role itself; inherited roles do not count.')),
            disabled: Type.Optional(Type.Enum(['true', 'false'])),
            limit: Limit,
            cursor: Type.Optional(Type.String({ pattern: ID_PATTERN, description: '`next_cursor` of the previous page.' })),
          }),
          response: answers({ 200: Type.Object({ users: Type.Array(ManagedUserSchema), next_cursor: OrNull(Id) }) }, [401, 403, 422]),
        },
      },
      async ({ query }) => {
        const { search, role, disabled, cursor } = query
        const filter = { search, role, isDisabled: disabled === undefined ? undefined : disabled === 'true' }
        const { users, nextCursor } = await administration.list(filter, limitOf(query), cursor)
        return { users: users.map(managedViewOf), next_cursor: nextCursor }
      },
    )

    app.post(
      '/admin/users',
      {
        config: { name: 'auth.admin.users' },
        schema: {
          summary: 'Create a user, who must change the password; a missing password is generated, and only this answer shows it',
          description: `Adds an account without a registration; the default role is \`user\`. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          body: strictBody({
            ...usernameField(usernames),
            email: Email,
            password: Type.Optional(Password),
            roles: Type.Optional(Type.Array(Role, { maxItems: 100 })),
          }),
          response: answers(
            { 201: Type.Object({ user: ManagedUserSchema, password: Type.Optional(Type.String()) }) },
            [401, 403, 409, 422, 503],
          ),
        },
      },
      async (request, reply) => {
        const { roles = ['user'], ...account } = request.body
        const { user, password } = await administration.create({ ...account, roles, mustChangePassword: true }, actorOf(request))
        return reply.code(201).send({ user: managedViewOf(user), ...(password === null ? {} : { password }) })
      },
    )

    app.get(
      '/admin/users/:id',
      {
        config: { name: 'auth.admin.user' },
        schema: {
          summary: 'A user',
          description: `Shows an account with roles and state. ${NEEDS_ADMIN}`,
          security: BEARER,
          params: ofUser,
          response: answers({ 200: ManagedUserSchema }, [401, 403, 404]),
        },
      },
      async ({ params }) => managedViewOf(await administration.find(params.id)),
    )

    app.delete(
      '/admin/users/:id',
      {
        config: { name: 'auth.admin.user' },
        schema: {
          summary: 'Delete a user with all personal data; the audit log stays complete',
          description: `Removes the account for good; its tokens and keys are refused from now on. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: ofUser,
          body: NOTHING,
          response: answers({ 204: Type.Null() }, [401, 403, 404, 409]),
        },
      },
      async (request, reply) => {
        await administration.remove(request.params.id, actorOf(request))
        return reply.code(204).send(null)
      },
    )

    const changes: [path: string, summary: string, effect: string, change: (id: string, by: Actor) => Promise<User>][] = [
      ['disable', 'Disable a user; every session ends', 'The user cannot log in until `enable`.', administration.disable],
      ['enable', 'Enable a user again', 'The user can log in again.', administration.enable],
      [
        'unlock',
        'Reset the counts of failed logins and codes of a user',
        'The user need not wait after wrong passwords or codes. The next login may come from any country.',
        administration.unlock,
      ],
      ['end-sessions', 'End every session of a user', 'The user must log in again everywhere.', administration.endSessions],
      [
        'force-password-change',
        'End every session of a user; the user must set a new password at the next login',
        'Until then the user can only change the password.',
        administration.forcePasswordChange,
      ],
      [
        'reset-factor',
        'Remove the second factor and its backup codes; every session ends, and the user gets a mail',
        'For a user who has lost the authenticator app. The next login needs a mailed link as well.',
        administration.resetFactor,
      ],
    ]
    for (const [path, summary, effect, change] of changes)
      app.post(
        `/admin/users/:id/${path}`,
        {
          config: { name: `auth.admin.user.${path}` },
          schema: {
            summary,
            description: `${effect} ${NEEDS_RECENT_ADMIN}`,
            security: BEARER,
            params: ofUser,
            body: NOTHING,
            response: answers({ 200: ManagedUserSchema }, [401, 403, 404, 409]),
          },
        },
        async (request) => managedViewOf(await change(request.params.id, actorOf(request))),
      )

    for (const [method, summary, effect, change] of [
      [
        'PUT',
        'Grant a role of the configuration; older access tokens are refused',
        'The user has the role after the next refresh.',
        administration.grant,
      ],
      ['DELETE', 'Take a role away; older access tokens are refused', 'The user is without the role from now on.', administration.revoke],
    ] as const)
      app.route({
        method,
        url: '/admin/users/:id/roles/:role',
        config: { name: 'auth.admin.user.roles' },
        schema: {
          summary,
          description: `${effect} ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: Type.Object({ id: PathId, role: Role }),
          body: NOTHING,
          response: answers({ 200: ManagedUserSchema }, [401, 403, 404, 409, 422]),
        },
        handler: async (request) => managedViewOf(await change(request.params.id, request.params.role, actorOf(request))),
      })

    app.patch(
      '/admin/users/:id/metadata',
      {
        config: { name: 'auth.admin.user.metadata' },
        schema: {
          summary: 'Change the metadata of a user',
          description: `Merges the body into the metadata (JSON Merge Patch, RFC 7396): null removes a member. The user may read \`public\`, and never \`admin\`. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: ofUser,
          body: MetadataBody,
          response: answers({ 200: ManagedUserSchema }, [401, 403, 404, 422]),
        },
      },
      async (request) => managedViewOf(await administration.patchMetadata(request.params.id, request.body, actorOf(request))),
    )

    app.get(
      '/admin/users/:id/sessions',
      {
        config: { name: 'auth.admin.user.sessions' },
        schema: {
          summary: 'The sessions of a user, the most recently used first',
          description: `Lists where a user is logged in, with device, address and times. ${NEEDS_ADMIN}`,
          security: BEARER,
          params: ofUser,
          response: answers({ 200: Type.Object({ sessions: Type.Array(SessionSchema) }) }, [401, 403, 404]),
        },
      },
      async ({ params }) => ({ sessions: (await administration.sessionsOf(params.id)).map(viewOfSession) }),
    )

    app.delete(
      '/admin/users/:id/sessions/:sessionId',
      {
        config: { name: 'auth.admin.user.sessions' },
        schema: {
          summary: 'End a session of a user',
          description: `Logs a user out of one session; its tokens are refused from now on. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: Type.Object({ id: PathId, sessionId: PathId }),
          body: NOTHING,
          response: answers({ 204: Type.Null() }, [401, 403, 404]),
        },
      },
      async (request, reply) => {
        await administration.endSession(request.params.id, request.params.sessionId, actorOf(request))
        return reply.code(204).send(null)
      },
    )

    app.get(
      '/admin/users/:id/api-keys',
      {
        config: { name: 'auth.admin.user.api-keys' },
        schema: {
          summary: 'The API keys of a user, newest first',
          description: `Lists the active keys of a user, without the keys themselves. ${NEEDS_ADMIN}`,
          security: BEARER,
          params: ofUser,
          response: answers({ 200: Type.Object({ api_keys: Type.Array(ApiKeySchema) }) }, [401, 403, 404]),
        },
      },
      async ({ params }) => ({ api_keys: (await administration.apiKeysOf(params.id)).map(viewOfApiKey) }),
    )

    app.delete(
      '/admin/users/:id/api-keys/:keyId',
      {
        config: { name: 'auth.admin.user.api-keys' },
        schema: {
          summary: 'Revoke an API key of a user',
          description: `Ends a key; it is refused everywhere from now on. ${NEEDS_RECENT_ADMIN}`,
          security: BEARER,
          params: Type.Object({ id: PathId, keyId: PathId }),
          body: NOTHING,
          response: answers({ 204: Type.Null() }, [401, 403, 404]),
        },
      },
      async (request, reply) => {
        await administration.revokeApiKey(request.params.id, request.params.keyId, actorOf(request))
        return reply.code(204).send(null)
      },
    )
  }
