/** Merges the metrics of several processes into those of one gateway. metrics.ts defines how the values of a series are combined. */
import { AggregatorRegistry } from 'prom-client'
import type { Metrics, MetricValues } from '../platform/telemetry/metrics.ts'

export interface Merger {
  /** Stores a worker's values as soon as they arrive. */
  hear(workerId: number, metrics: MetricValues[]): void
  /** For a worker that did not answer, the last known values count. */
  text(): Promise<string>
  /** The worker has ended. Its counts stay: a falling counter would look like a restarted counter. */
  retire(workerId: number): void
}

/** Gauges of the jobs that the supervisor runs. All other gauges come from the workers. */
const OF_THE_SUPERVISOR =
  /^(process|nodejs)_|^portcullis_(workers|refresh_tokens_rows|cleanup_last_success_timestamp_seconds|outbox_waiting|audit_unsealed_rows|audit_last_sealed_timestamp_seconds|acme_last_success_timestamp_seconds|acme_renewal_due_timestamp_seconds|config_\w+)$/
/** Workers read no configuration: their values say nothing. */
const OF_THE_CONFIGURATION = /^portcullis_config_/
const isCount = ({ type }: MetricValues) => String(type) === 'counter' || String(type) === 'histogram'

export function createMerger({ registry }: Metrics): Merger {
  const lastHeard = new Map<number, MetricValues[]>()
  let retired: MetricValues[] = []

  return {
    hear: (id, metrics) =>
      void lastHeard.set(
        id,
        metrics.filter(({ name }) => !OF_THE_CONFIGURATION.test(name)),
      ),
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
