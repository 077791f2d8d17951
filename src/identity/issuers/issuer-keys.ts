/** The key sets of all issuers of this process. They outlive a configuration: a reload must not lose the keys of an issuer that stays. */
import type { IssuerConfig } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import { createKeySet, type KeySet } from './key-set.ts'

export interface IssuerKeys {
  /** The keys are read in the background from now on, so that a start does not wait for an issuer. */
  of(settings: IssuerConfig): KeySet
  /** The issuers of the configuration in force. What was made for others is dropped. */
  keep(issuers: readonly IssuerConfig[]): void
  close(): void
}

const LOOK_MS = 1000

export function createIssuerKeys(deps: {
  clock: Clock
  logger: Logger
  metrics: Pick<Metrics, 'issuerKeyReads' | 'issuerKeysAge'>
}): IssuerKeys {
  const sets = new Map<string, { id: string; keys: KeySet }>()
  let timer: NodeJS.Timeout | undefined
  deps.metrics.issuerKeysAge.collectFrom(function* () {
    for (const { id, keys } of sets.values()) yield [id, keys.ageSeconds()]
  })

  return {
    of(settings) {
      const name = nameOf(settings)
      const known = sets.get(name)
      if (known) return known.keys
      const keys = createKeySet({ settings, ...deps })
      sets.set(name, { id: settings.id, keys })
      keys.readWhenDue()
      timer ??= setInterval(() => {
        for (const set of sets.values()) set.keys.readWhenDue()
      }, LOOK_MS).unref()
      return keys
    },
    keep(issuers) {
      const names = new Set(issuers.map(nameOf))
      for (const name of sets.keys()) if (!names.has(name)) sets.delete(name)
    },
    close: () => clearInterval(timer),
  }
}

/** What the keys depend on. */
const nameOf = ({ id, issuer, jwksUri, algorithms, caFile, tokenFile }: IssuerConfig): string =>
  JSON.stringify([id, issuer, jwksUri, algorithms, caFile, tokenFile])
