/** Operators change the metadata of users. Access tokens that carry an old value are outdated. */

import type { Metadata } from '../../platform/db/tables.ts'
import { problem } from '../../platform/lib/errors.ts'
import { type MetadataPatch, mergePatch, metadataFaults, namesOf } from '../users/metadata.ts'
import { type User, updateUser } from '../users/users.repo.ts'
import type { Actor } from './audited-action.ts'
import type { ChangeUser } from './change-user.ts'

export function createMetadataActions(update: ChangeUser['update']) {
  return {
    /** @param patch RFC 7396. @throws validation_failed */
    patchMetadata: (ref: string, patch: MetadataPatch, by: Actor): Promise<User> =>
      update(
        ref,
        { event: 'metadata_change', detail: namesOf(patch) },
        async ({ trx }, user) => {
          const metadata = mergePatch(user.metadata, patch) as Metadata
          const errors = metadataFaults(metadata)
          if (errors.length) throw problem('validation_failed', { errors })
          await updateUser(trx, user.id, { metadata })
        },
        by,
      ),
  }
}
