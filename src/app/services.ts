/** Opens all services of a gateway except its listeners, for `buildApp` and for commands. */
import type { Siblings } from '../identity/sessions/revocations.ts'
import type { Config } from '../platform/config/schema.ts'
import type { Job } from '../platform/jobs/schedule.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { HealthReport } from './console/health-history.ts'
import { createIdentity, type Identity, type IdentityOptions } from './identity.ts'
import { openPlatform, type Platform, type PlatformOptions } from './platform.ts'

export interface ServicesOptions extends PlatformOptions, Pick<IdentityOptions, 'hasher'> {
  /** Set in a worker: this process is one of several, and the supervisor runs the jobs. */
  team?: Team
  /** Set in the supervisor: exchanges revocations with the workers. */
  workers?: Siblings
}

export interface Team {
  workers: number
  hashPermit: IdentityOptions['hashPermit']
  siblings: Siblings & {
    /** The errors of all processes, newest first. */
    lastErrors(): Promise<ErrorRecord[]>
    /** The health of all workers in the last hour. */
    health(): Promise<HealthReport>
    /** False when another process has logged this notice, or is about to. */
    isFirstNotice(reason: string): Promise<boolean>
  }
}

export interface Services {
  platform: Platform
  identity: Identity
  /** To run in one process of the gateway only. */
  jobs: Job[]
  /** Ends what follows issuers and files that this configuration does not name. Their keys and contents are forgotten. */
  keepOnly(config: Config): void
  close(): Promise<void>
}

/** For every process that signs or judges tokens. */
export const keyringJob = ({ identity, platform }: Pick<Services, 'identity' | 'platform'>): Job => ({
  name: 'signing keys',
  everySeconds: platform.config.tokens.keyPollSeconds,
  run: () => identity.keyring.reload(),
})

export async function openServices(options: ServicesOptions): Promise<Services> {
  const platform = await openPlatform({ ...options, isFirstNotice: options.team?.siblings.isFirstNotice ?? options.isFirstNotice })
  const identity = await createIdentity(platform, {
    siblings: options.team?.siblings ?? options.workers,
    hasher: options.hasher,
    hashPermit: options.team?.hashPermit,
  })
  return {
    platform,
    identity,
    jobs: [...identity.jobs, ...platform.jobs],
    keepOnly(config) {
      identity.issuerKeys.keep(config.issuers)
      platform.dataFiles.keepOnly(config)
    },
    async close() {
      identity.close()
      await platform.close()
    },
  }
}
