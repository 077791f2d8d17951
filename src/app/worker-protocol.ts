/** The messages between the supervisor and its workers. */
import type { Revocation } from '../identity/sessions/revocations.repo.ts'
import type { Config, Secrets } from '../platform/config/schema.ts'
import type { TracingSettings } from '../platform/config/tracing-variables.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { MetricValues } from '../platform/telemetry/metrics.ts'
import type { CheckResult } from './admin-server.ts'
import type { HealthReport } from './console/health-history.ts'
import type { HealthReading } from './console/health-reading.ts'

/** Workers read no files of the configuration: all of them, and their replacements, must have the same. */
export interface Assignment {
  config: Config
  secrets: Secrets
  tracing: TracingSettings | null
  /** The number of workers. */
  workers: number
  /** There are more workers than hashes that may be computed at the same time: a worker needs a permit for each hash. */
  sharesHashing: boolean
}

export type WorkerAnswers = {
  /** Resolves once it listens. @returns the port */
  start(assignment: Assignment): Promise<number>
  metrics(nothing: null): Promise<MetricValues[]>
  /** Null before it has started. */
  health(nothing: null): Promise<HealthReading | null>
  checks(nothing: null): CheckResult[]
  lastErrors(nothing: null): ErrorRecord[]
  /** A message of the revocation channel. */
  revoke(message: string): void
  /** Null while the worker cannot vouch for its revocations. */
  revocations(nothing: null): Revocation[] | null
  /** Builds everything for another configuration, beside what is in force. Fails when it cannot. */
  prepareReload(config: Config): Promise<void>
  /** Puts in force what was prepared. */
  commitReload(nothing: null): void
  /** Also when nothing was prepared. */
  cancelReload(nothing: null): void
  /** Resolves when the requests in flight have finished; the process then ends. */
  stop(nothing: null): Promise<void>
}

export type SupervisorAnswers = {
  /** The sender's event loop runs. */
  beat(nothing: null): void
  /** Resolves when the worker may compute a hash. It holds one permit at most. */
  takeHashPermit(nothing: null): Promise<void>
  giveHashPermit(nothing: null): void
  /** Forwards the message to the other workers; resolves when they have received it. */
  revoke(message: string): Promise<void>
  /** The revocations of all other processes together; null: none of them could answer. */
  revocations(nothing: null): Promise<Revocation[] | null>
  /** The errors of all processes, newest first. */
  lastErrors(nothing: null): Promise<ErrorRecord[]>
  /** The health of all workers in the last hour. */
  health(nothing: null): HealthReport
  /** True for the first worker that asks about this notice: the other workers do not log it again. */
  isFirstNotice(reason: string): boolean
}

/** A worker that takes longer for a small answer counts as not running. */
export const ASK_MS = 1000
/** A hash waits no longer for the hashes of other workers. */
export const HASH_PERMIT_MS = 10_000
/** The longest that anything waits for a worker that does not answer: a logout, or the admin listener once the worker is known to be silent. */
export const SILENT_ASK_MS = 200
