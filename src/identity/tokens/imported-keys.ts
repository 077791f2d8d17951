/** Caches imported keys, since jose and WebCrypto would import them again on each call. */
import type { Logger } from '../../platform/telemetry/logger.ts'
import { type Algorithm, importKey, type KeyMaterial } from './key-material.ts'
import type { KeySealing } from './key-sealing.ts'
import type { KeyRow } from './keyring.repo.ts'

export interface ImportedKeys {
  /** @returns null when the row was tampered with, or is sealed under an unknown secret key. Other keys stay usable. */
  from(row: KeyRow): Promise<KeyMaterial | null>
  isUnusable(kid: string): boolean
  forgetAllBut(rows: readonly KeyRow[]): void
}

export function createImportedKeys(sealing: KeySealing, logger: Logger): ImportedKeys {
  const imported = new Map<string, KeyMaterial>()
  /** The unusable keys, so that each is logged once. */
  const unusable = new Set<string>()

  return {
    async from(row) {
      const known = imported.get(row.kid)
      if (known) return known
      try {
        const entry = await importKey(row.kid, row.algorithm as Algorithm, sealing.open(row), JSON.parse(row.public_jwk))
        imported.set(row.kid, entry)
        unusable.delete(row.kid)
        return entry
      } catch (error) {
        if (!unusable.has(row.kid))
          logger.error({ reason: 'signing_key_unusable', kid: row.kid, cause: String(error) }, 'a signing key cannot be used')
        unusable.add(row.kid)
        return null
      }
    },
    isUnusable: (kid) => unusable.has(kid),
    forgetAllBut(rows) {
      const kids = new Set(rows.map(({ kid }) => kid))
      for (const kid of imported.keys()) if (!kids.has(kid)) imported.delete(kid)
      for (const kid of unusable) if (!kids.has(kid)) unusable.delete(kid)
    },
  }
}
