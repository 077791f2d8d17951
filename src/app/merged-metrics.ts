/** The metrics of several processes as those of one gateway. How the values of a series are put together is said where it is made: metrics.ts. */
import { AggregatorRegistry } from 'prom-client'
import type { Metrics, MetricValues } from '../platform/telemetry/metrics.ts'

export interface Merger {
  /** What a worker says, as soon as it is heard. */
  hear(workerId: number, metrics: MetricValues[]): void
  /** Of a worker that did not answer what it said last counts. */
  text(): Promise<string>
  /** It has died. What it counted stays: a counter that falls looks like one that began anew. */
  retire(workerId: number): void
}

/** Gauges of the process that does what is done once; of all others the workers know more. */
const OF_THE_SUPERVISOR =
  /^(process|nodejs)_|^portcullis_(workers|refresh_tokens_rows|cleanup_last_success_timestamp_seconds|outbox_waiting|audit_unsealed_rows|audit_last_sealed_timestamp_seconds)$/
const isCount = ({ type }: MetricValues) => String(type) === 'counter' || String(type) === 'histogram'

export function createMerger({ registry }: Metrics): Merger {
  const lastHeard = new Map<number, MetricValues[]>()
  let retired: MetricValues[] = []

  return {
    hear: (id, metrics) => void lastHeard.set(id, metrics),
    async text() {
      const own = (await registry.getMetricsAsJSON()).filter((metric) => isCount(metric) || OF_THE_SUPERVISOR.test(metric.name))
      return AggregatorRegistry.aggregate([...lastHeard.values(), own, retired]).metrics()
    },
    retire(id) {
      const counted = lastHeard.get(id)?.filter(isCount) ?? []
      lastHeard.delete(id)
      const merged = AggregatorRegistry.aggregate([retired, counted]).getMetricsAsArray()
      retired = merged.map((metric) => (metric as unknown as { get(): MetricValues }).get())
    },
  }
}
