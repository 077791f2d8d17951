/** What the supervisor and its workers ask each other. */
import type { Config, Secrets } from '../platform/config/schema.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { MetricValues } from '../platform/telemetry/metrics.ts'
import type { CheckResult } from './admin-server.ts'

/** Read once, by the supervisor: a worker that takes another's place is to be what that one was. */
export interface Assignment {
  config: Config
  secrets: Secrets
  /** How many there are. */
  workers: number
}

export type WorkerAnswers = {
  /** Resolves once it listens. @returns the port */
  start(assignment: Assignment): Promise<number>
  metrics(nothing: null): Promise<MetricValues[]>
  checks(nothing: null): CheckResult[]
  lastErrors(nothing: null): ErrorRecord[]
  /** A message of the revocation channel. */
  revoke(message: string): void
  /** Resolves when what is in flight is finished; the process ends then. */
  stop(nothing: null): Promise<void>
}

export type SupervisorAnswers = {
  /** Told to the other workers; resolves when they have heard it. */
  revoke(message: string): Promise<void>
  /** Of all workers. */
  lastErrors(nothing: null): Promise<ErrorRecord[]>
}

/** Who takes longer over something small does not run. */
export const ASK_MS = 1000
