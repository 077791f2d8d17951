import { type Static, Type } from 'typebox'
import { Id, OrNull, Timestamp } from '../../platform/http/endpoint.ts'
import { JsonObject } from './metadata.ts'
import { hasPassword, type User } from './users.repo.ts'

/** The shape of `user` in every answer. */
export const UserSchema = Type.Object(
  {
    id: Id,
    username: OrNull(Type.String()),
    email: Type.String(),
    email_verified: Type.Boolean(),
    roles: Type.Array(Type.String()),
    mfa_enabled: Type.Boolean(),
    password_must_change: Type.Boolean(),
    created_at: Timestamp,
    last_login_at: OrNull(Timestamp),
  },
  { title: 'User' },
)

/** The own account. `metadata` is the public part. */
export const OwnUserSchema = Type.Object(
  {
    ...UserSchema.properties,
    has_password: Type.Boolean({ description: 'False: the user logs in with a linked login only.' }),
    metadata: JsonObject,
  },
  { title: 'OwnUser' },
)

export type OwnUserView = Static<typeof OwnUserSchema>

export type UserView = Static<typeof UserSchema>

export const viewOf = (user: User): UserView => ({
  id: user.id,
  username: user.username,
  email: user.email,
  email_verified: user.email_verified_at !== null,
  roles: [...user.roles].sort(),
  mfa_enabled: user.mfa_enabled,
  password_must_change: user.password_must_change,
  created_at: user.created_at.toISOString(),
  last_login_at: user.last_login_at?.toISOString() ?? null,
})

export const ownViewOf = (user: User): OwnUserView => ({
  ...viewOf(user),
  has_password: hasPassword(user),
  metadata: user.metadata.public ?? {},
})
