/** The views of users and keys for administrators. */

import { type Static, Type } from 'typebox'
import { Id, OrNull, Timestamp } from '../../platform/http/endpoint.ts'
import type { Invitation } from '../accounts/invitations.repo.ts'
import type { KeyStatus } from '../tokens/keyring.ts'
import { MetadataSchema, metadataViewOf } from '../users/metadata.ts'
import { UserSchema, viewOf } from '../users/user-view.ts'
import type { User } from '../users/users.repo.ts'

const When = OrNull(Timestamp)

export const ManagedUserSchema = Type.Object(
  { ...UserSchema.properties, disabled: Type.Boolean(), disabled_at: When, metadata: MetadataSchema },
  { title: 'ManagedUser' },
)

export const managedViewOf = (user: User): Static<typeof ManagedUserSchema> => ({
  ...viewOf(user),
  disabled: user.disabled_at !== null,
  disabled_at: user.disabled_at?.toISOString() ?? null,
  metadata: metadataViewOf(user.metadata),
})

export const KeySchema = Type.Object(
  {
    kid: Type.String(),
    algorithm: Type.String(),
    state: Type.Enum(['next', 'current', 'retired']),
    created_at: Timestamp,
    signs_from: Type.String(),
    retired_at: When,
  },
  { title: 'SigningKey' },
)

export const keyViewOf = (key: KeyStatus): Static<typeof KeySchema> => ({
  kid: key.kid,
  algorithm: key.algorithm,
  state: key.state,
  created_at: key.createdAt.toISOString(),
  signs_from: key.activatesAt.toISOString(),
  retired_at: key.retiredAt?.toISOString() ?? null,
})

export const InvitationSchema = Type.Object(
  {
    id: Id,
    email: Type.String(),
    roles: Type.Array(Type.String()),
    invited_by: OrNull(Id, { description: 'The id of an administrator. Null: the command line.' }),
    created_at: Timestamp,
    expires_at: Timestamp,
  },
  { title: 'Invitation' },
)

/** Without the token, which only the mail holds. */
export const invitationViewOf = ({ id, email, roles, invited_by, created_at, expires_at }: Invitation) => ({
  id,
  email,
  roles,
  invited_by,
  created_at: created_at.toISOString(),
  expires_at: expires_at.toISOString(),
})
