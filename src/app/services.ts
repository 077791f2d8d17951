/** Opens all services of a gateway except its listeners, for `buildApp` and for commands. */
import type { Job } from '../platform/jobs/schedule.ts'
import type { Broadcast } from '../platform/redis.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import { createIdentity, type Identity, type IdentityOptions } from './identity.ts'
import { openPlatform, type Platform, type PlatformOptions } from './platform.ts'

export interface ServicesOptions extends PlatformOptions, Pick<IdentityOptions, 'hasher'> {
  /** Set in a worker: this process is one of several, and the supervisor runs the jobs. */
  team?: Team
}

export interface Team {
  workers: number
  siblings: Broadcast & {
    lastErrors(): Promise<ErrorRecord[]>
    /** False when another worker has logged this notice, or is about to. */
    isFirstNotice(reason: string): Promise<boolean>
  }
}

export interface Services {
  platform: Platform
  identity: Identity
  /** To run in one process of the gateway only. */
  jobs: Job[]
  close(): Promise<void>
}

export async function openServices(options: ServicesOptions): Promise<Services> {
  const platform = await openPlatform(options)
  const identity = await createIdentity(platform, { siblings: options.team?.siblings, hasher: options.hasher })
  return {
    platform,
    identity,
    jobs: [...identity.jobs, ...platform.jobs],
    async close() {
      identity.close()
      await platform.close()
    },
  }
}
