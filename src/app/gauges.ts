/** Gauges of a serving process: some are read when Prometheus scrapes, others are set every few seconds. */
import { createHash } from 'node:crypto'
import type { Config } from '../platform/config/schema.ts'
import type { Clock } from '../platform/lib/clock.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'
import type { Platform } from './platform.ts'
import { measureWaits } from './waits.ts'

/** The database counts as not available when revocations were last read longer ago than this. */
export const DB_LAG_SECONDS = 3

export const isDatabaseUp = ({ database }: Platform, { revocations }: Identity): boolean =>
  revocations.lagSeconds() < DB_LAG_SECONDS && !database.isBreakerOpen()

const SAMPLE_MS = 5000

/** @returns stops the updates */
export function showGauges(platform: Platform, identity: Identity, limits: Limits): () => void {
  const { clock, metrics, database } = platform
  const { revocations, keyring } = identity
  metrics.dbUp.collectFrom(() => Number(isDatabaseUp(platform, identity)))
  metrics.dbBreakerOpen.collectFrom(() => Number(database.isBreakerOpen()))
  metrics.replicaLag.collectFrom(() => database.replicaLagSeconds())
  metrics.redisUp.collectFrom(() => Number(limits.isRedisUp()))
  metrics.redisBreakerOpen.collectFrom(() => Number(limits.isBreakerOpen()))
  metrics.revocationLag.collectFrom(() => revocations.lagSeconds())
  metrics.clockSkew.collectFrom(() => clock.skewSeconds())
  metrics.revokedEntries.collectFrom(() => revocations.size())

  const sample = () => {
    metrics.signingKeyAge.reset()
    for (const { kid, state, createdAt } of keyring.status())
      metrics.signingKeyAge.set({ kid, state }, (clock.now() - createdAt.getTime()) / 1000)
    const { pool } = database
    if (!pool) return
    metrics.dbPool.set({ state: 'idle' }, pool.idleCount)
    metrics.dbPool.set({ state: 'busy' }, pool.totalCount - pool.idleCount)
    metrics.dbPool.set({ state: 'waiting' }, pool.waitingCount)
  }
  const timer = setInterval(sample, SAMPLE_MS).unref()
  const stopWaits = measureWaits(metrics)
  return () => {
    clearInterval(timer)
    stopWaits()
  }
}

/** For the process that reads the configuration: this configuration is in force. */
export function showConfig({ configInfo, configReloadSuccess, configReloadTime }: Metrics, config: Config, clock: Clock): void {
  configReloadSuccess.set(1)
  configReloadTime.set(clock.now() / 1000)
  configInfo.reset()
  configInfo.set({ sha: createHash('sha256').update(JSON.stringify(config)).digest('hex').slice(0, 12) }, 1)
}
