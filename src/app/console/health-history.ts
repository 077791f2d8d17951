/**
 * The health of the last hour, in samples that are taken at an interval. It lies in memory and does not grow. Each process is compared with
 * its own last reading: a worker that was replaced begins at zero and never makes a rate negative.
 */
import type { Job } from '../../platform/jobs/schedule.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { BREAKERS, type HealthReading, STATUS_CLASSES, type StatusClass, type UpstreamHealth } from './health-reading.ts'

export interface HealthSample {
  /** Milliseconds since the epoch. */
  at: number
  workers: number
  /** A second. */
  requests: Record<StatusClass, number>
  /** Since the sample before. */
  errors: Record<string, number>
  logins: Record<string, number>
  limits: { allowed: number; limited: number }
  /** Null: no request ended. */
  latency: { p50Seconds: number; p99Seconds: number } | null
  /** Null: no process answered. */
  state: HealthState | null
}

export interface HealthState
  extends Pick<HealthReading, 'isDatabaseUp' | 'isRedisUp' | 'isBreakerOpen' | 'revocationLagSeconds' | 'pool' | 'inFlight'> {}

/** What a page shows. Plain data, so that a worker can get it from its supervisor. */
export interface HealthReport {
  everySeconds: number
  /** Oldest first. */
  samples: readonly HealthSample[]
  /** Of the last sample: `<route>:<n>`. Of several processes, the worst state. */
  upstreams: Record<string, UpstreamHealth>
}

export interface HealthHistory {
  /** Takes a sample. The first call only learns where the counters stand. */
  sample(): Promise<void>
  report(): HealthReport
  /** Takes the samples. */
  job: Job
}

export interface HealthHistoryDeps {
  clock: Clock
  /** The readings of all processes that answer, by a number that no later process has. */
  read(): Promise<ReadonlyMap<number, HealthReading>>
  everySeconds?: number
  /** Samples that are kept. */
  kept?: number
}

const EVERY_SECONDS = 15
/** One hour. */
const KEPT = 240
/** The reading of a process that has not answered for so many samples is forgotten. */
const FORGOTTEN_AFTER = 20

/** The last reading of a process. */
interface Known {
  reading: HealthReading
  /** By the steady clock, in milliseconds. */
  at: number
  missed: number
}

export function createHealthHistory({ clock, read, everySeconds = EVERY_SECONDS, kept = KEPT }: HealthHistoryDeps): HealthHistory {
  const known = new Map<number, Known>()
  let samples: HealthSample[] = []
  let upstreams: Record<string, UpstreamHealth> = {}
  let lastAt: number | null = null

  function changesOf(id: number, reading: HealthReading, now: number): Change {
    const before = known.get(id)
    known.set(id, { reading, at: now, missed: 0 })
    return { before: before?.reading ?? null, reading, seconds: Math.max(0.001, (now - (before?.at ?? lastAt!)) / 1000) }
  }

  async function sample(): Promise<void> {
    const readings = await read()
    const now = clock.steady()
    for (const [id, process] of known) if (!readings.has(id) && ++process.missed > FORGOTTEN_AFTER) known.delete(id)
    if (lastAt === null) for (const [id, reading] of readings) known.set(id, { reading, at: now, missed: 0 })
    else {
      const changes = [...readings].map(([id, reading]) => changesOf(id, reading, now))
      samples = [...samples, sampleOf(clock.now(), changes)].slice(-kept)
    }
    lastAt = now
    upstreams = worstOf([...readings.values()])
  }

  return {
    sample,
    report: () => ({ everySeconds, samples, upstreams }),
    job: { name: 'health sample', everySeconds, firstAfterSeconds: 0, run: sample },
  }
}

/** What one process did since its last reading. `before` is null for a new process: its counters began at zero. */
interface Change {
  before: HealthReading | null
  reading: HealthReading
  seconds: number
}

function sampleOf(at: number, changes: readonly Change[]): HealthSample {
  const requests = { '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 }
  const errors: Record<string, number> = {}
  const logins: Record<string, number> = {}
  const limits = { allowed: 0, limited: 0 }
  for (const { before, reading, seconds } of changes) {
    for (const status of STATUS_CLASSES) requests[status] += grown(reading.requests[status], before?.requests[status]) / seconds
    addGrown(errors, reading.errors, before?.errors)
    addGrown(logins, reading.logins, before?.logins)
    addGrown(limits, reading.limits, before?.limits)
  }
  return {
    at,
    workers: changes.length,
    requests,
    errors,
    logins,
    limits,
    latency: latencyOf(changes),
    state: stateOf(changes.map(({ reading }) => reading)),
  }
}

const grown = (now: number, before = 0): number => Math.max(0, now - before)

function addGrown(sums: Record<string, number>, now: Record<string, number>, before: Record<string, number> = {}): void {
  for (const [name, value] of Object.entries(now)) {
    const added = grown(value, before[name])
    if (added > 0) sums[name] = (sums[name] ?? 0) + added
  }
}

/** Of several processes, the worst. What they have apart is added up. */
function stateOf(readings: readonly HealthReading[]): HealthState | null {
  if (readings.length === 0) return null
  const sum = (of: (reading: HealthReading) => number) => readings.reduce((total, reading) => total + of(reading), 0)
  return {
    isDatabaseUp: readings.every((r) => r.isDatabaseUp),
    isRedisUp: readings.every((r) => r.isRedisUp),
    isBreakerOpen: readings.some((r) => r.isBreakerOpen),
    revocationLagSeconds: Math.max(...readings.map((r) => r.revocationLagSeconds)),
    pool: { busy: sum((r) => r.pool.busy), idle: sum((r) => r.pool.idle), waiting: sum((r) => r.pool.waiting) },
    inFlight: sum((r) => r.inFlight),
  }
}

function worstOf(readings: readonly HealthReading[]): Record<string, UpstreamHealth> {
  const worst: Record<string, UpstreamHealth> = {}
  for (const { upstreams } of readings)
    for (const [name, { breaker, isHealthy }] of Object.entries(upstreams)) {
      const other = worst[name] ?? { breaker: 'closed', isHealthy: null }
      worst[name] = {
        breaker: BREAKERS[Math.max(BREAKERS.indexOf(breaker), BREAKERS.indexOf(other.breaker))]!,
        isHealthy: isHealthy === null ? other.isHealthy : isHealthy && other.isHealthy !== false,
      }
    }
  return worst
}

function latencyOf(changes: readonly Change[]): HealthSample['latency'] {
  // a process that has answered no request yet has no bounds; all other processes have the same
  const bounds = changes.map(({ reading }) => reading.latency.bounds).find(({ length }) => length > 0) ?? []
  let total = 0
  const counts = bounds.map(() => 0)
  for (const { before, reading } of changes) {
    total += grown(reading.latency.total, before?.latency.total)
    for (const [i, count] of reading.latency.counts.entries()) counts[i]! += grown(count, before?.latency.counts[i])
  }
  if (total === 0) return null
  return { p50Seconds: quantile(0.5, bounds, counts, total), p99Seconds: quantile(0.99, bounds, counts, total) }
}

/**
 * Estimates a quantile as Prometheus does: linear within a bucket. Above the last bound the estimate is that bound.
 * @param bounds in seconds, ascending @param counts of the values up to each bound @param total of all values
 */
export function quantile(q: number, bounds: readonly number[], counts: readonly number[], total: number): number {
  const rank = q * total
  const at = counts.findIndex((count) => count >= rank)
  if (at < 0) return bounds.at(-1) ?? 0
  const [lower, below] = at === 0 ? [0, 0] : [bounds[at - 1]!, counts[at - 1]!]
  const inside = counts[at]! - below
  return inside === 0 ? bounds[at]! : lower + (bounds[at]! - lower) * ((rank - below) / inside)
}
