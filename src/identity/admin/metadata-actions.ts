/** Operators change the metadata of users. Access tokens that carry an old value are outdated. */

import type { Metadata } from '../../platform/db/tables.ts'
import { invalidField, problem } from '../../platform/lib/errors.ts'
import { couldFitToken } from '../tokens/access-tokens.ts'
import type { MetadataClaims } from '../tokens/metadata-claims.ts'
import { type MetadataPatch, mergePatch, metadataFaults, namesOf } from '../users/metadata.ts'
import type { Grants } from '../users/roles.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'
import type { ChangeUser } from './change-user.ts'

export interface MetadataActionsDeps {
  update: ChangeUser['update']
  metadataClaims: MetadataClaims
  grantsOf: (roles: readonly string[]) => Grants
}

export function createMetadataActions({ update, metadataClaims, grantsOf }: MetadataActionsDeps) {
  function assertPossible(metadata: Metadata, { roles, email, username }: User): void {
    const errors = [...metadataFaults(metadata), ...metadataClaims.faults(metadata)]
    if (errors.length) throw problem('validation_failed', { errors })
    if (!couldFitToken(grantsOf(roles), { ...metadataClaims.of(metadata), email, username }))
      throw invalidField('metadata', 'too_long', 'does not fit: with these values, the access token of the user would be too long')
  }

  return {
    /** @param patch RFC 7396. @throws validation_failed */
    patchMetadata: (ref: string, patch: MetadataPatch, by: Actor): Promise<User> =>
      update(
        ref,
        { event: 'metadata_change', detail: namesOf(patch) },
        async ({ trx, revoke }, user) => {
          const metadata = mergePatch(user.metadata, patch) as Metadata
          assertPossible(metadata, user)
          await updateUser(trx, user.id, { metadata })
          const [before, after] = [user.metadata, metadata].map((value) => JSON.stringify(metadataClaims.of(value)))
          if (before !== after) await revoke.outdateTokens(user.id)
        },
        by,
      ),
  }
}
