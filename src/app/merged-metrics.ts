/** Merges the metrics of several processes into those of one gateway. metrics.ts defines how the values of a series are combined. */
import { AggregatorRegistry, type RegistryContentType, type Registry as RegistryOf } from 'prom-client'
import { expose, type Format } from '../platform/telemetry/exposition.ts'
import type { Exemplar } from '../platform/telemetry/fast-metrics.ts'
import type { Metrics, MetricValues } from '../platform/telemetry/metrics.ts'

export interface Merger {
  /** Stores a worker's values as soon as they arrive. */
  hear(workerId: number, metrics: MetricValues[]): void
  /** For a worker that did not answer, the last known values count. */
  text(format: Format): Promise<string>
  /** The worker has ended. Its counts stay: a falling counter would look like a restarted counter. */
  retire(workerId: number): void
}

/** Gauges of the jobs that the supervisor runs. All other gauges come from the workers. */
const OF_THE_SUPERVISOR =
  /^(process|nodejs)_|^portcullis_(workers|refresh_tokens_rows|cleanup_last_success_timestamp_seconds|outbox_waiting|audit_unsealed_rows|audit_last_sealed_timestamp_seconds|acme_last_success_timestamp_seconds|acme_renewal_due_timestamp_seconds|config_\w+)$/
/** Workers read no configuration: their values say nothing. */
const OF_THE_CONFIGURATION = /^portcullis_config_/
type Registry = RegistryOf<RegistryContentType>
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
    async text(format) {
      const own = (await registry.getMetricsAsJSON()).filter((metric) => isCount(metric) || OF_THE_SUPERVISOR.test(metric.name))
      return expose(merge([...lastHeard.values(), own, retired]), format)
    },
    retire(id) {
      const counted = lastHeard.get(id)?.filter(isCount) ?? []
      lastHeard.delete(id)
      retired = valuesOf(merge([retired, counted]))
    },
  }
}

/** prom-client drops exemplars: each bucket gets the newest exemplar of all processes back. */
function merge(lists: readonly MetricValues[][]): Registry {
  const merged = AggregatorRegistry.aggregate(lists as MetricValues[][])
  const newest = new Map<string, Exemplar>()
  for (const { values } of lists.flat())
    for (const value of values) {
      const { exemplar } = value
      if (exemplar && exemplar.timestamp > (newest.get(keyOf(value))?.timestamp ?? 0)) newest.set(keyOf(value), exemplar)
    }
  if (newest.size === 0) return merged
  for (const metric of valuesOf(merged).filter(({ type }) => String(type) === 'histogram'))
    for (const value of metric.values) {
      const exemplar = newest.get(keyOf(value))
      if (exemplar) value.exemplar = exemplar
    }
  return merged
}

/** The values of an aggregated registry are plain objects. */
const valuesOf = (merged: Registry): MetricValues[] =>
  merged.getMetricsAsArray().map((metric) => (metric as unknown as { get(): MetricValues }).get())

/** All processes write the labels of a metric in the same order. */
const keyOf = ({ metricName, labels }: MetricValues['values'][number]): string => JSON.stringify([metricName, labels])
