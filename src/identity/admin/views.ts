/** The views of users and keys for administrators. */
import { type Static, Type } from 'typebox'
import type { KeyStatus } from '../tokens/keyring.ts'
import { MetadataSchema, metadataViewOf } from '../users/metadata.ts'
import { UserSchema, viewOf } from '../users/user-view.ts'
import type { User } from '../users/users.repo.ts'

const When = Type.Union([Type.String(), Type.Null()])

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
    created_at: Type.String(),
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
