/**
 * Counters and histograms that every request uses. Labels are bound once, so that counting is a single addition. prom-client hashes the labels
 * at each increment; here it only reads the values when Prometheus scrapes.
 */
import type { Metric, Registry } from 'prom-client'
import { systemClock } from '../lib/clock.ts'

export interface FastCounter {
  count: number
}

/** A trace that was kept. Ids in hexadecimal (W3C Trace Context): 32 and 16 digits. */
export interface SampledTrace {
  traceId: string
  spanId: string
}

/** One observation of a bucket, with its trace. Seconds since the epoch. */
export interface Exemplar extends SampledTrace {
  value: number
  timestamp: number
}

export interface FastHistogram {
  /**
   * @param value in the unit of the metric, usually seconds
   * @param trace becomes the exemplar of its bucket. Null: the request has no trace that was kept
   */
  observe(value: number, trace?: SampledTrace | null): void
}

/** Equal labels give the same series. */
export interface Bindable<S, L extends string = string> {
  bind(labels: Record<L, string>): S
}

interface Value {
  metricName?: string
  labels: Record<string, string>
  value: number
  exemplar?: Exemplar
}

interface Head<L extends string> {
  name: string
  help: string
  labelNames: readonly L[]
}

export function fastCounter<L extends string>(registry: Registry, head: Head<L>): Bindable<FastCounter, L> {
  const bound = createBound<FastCounter>(() => ({ count: 0 }))
  register(registry, { ...head, type: 'counter' }, () => bound.all().map(([labels, { count }]) => ({ labels, value: count })))
  return bound
}

/** @param buckets upper bounds, ascending */
export function fastHistogram<L extends string>(registry: Registry, head: Head<L>, buckets: readonly number[]): Bindable<FastHistogram, L> {
  const { name } = head
  const bound = createBound(() => {
    const counts = new Float64Array(buckets.length + 1)
    /** The last of each bucket. */
    const exemplars: Exemplar[] = []
    let sum = 0
    return {
      counts,
      exemplars,
      sum: () => sum,
      observe(value: number, trace: SampledTrace | null = null) {
        let i = 0
        while (i < buckets.length && value > buckets[i]!) i++
        counts[i]!++
        sum += value
        if (trace) exemplars[i] = { traceId: trace.traceId, spanId: trace.spanId, value, timestamp: systemClock.now() / 1000 }
      },
    }
  })
  register(registry, { ...head, type: 'histogram' }, () =>
    bound.all().flatMap(([labels, { counts, exemplars, sum }]) => {
      let below = 0
      const cumulative = Array.from(counts, (n, i) => {
        below += n
        const bucket: Value = { metricName: `${name}_bucket`, labels: { le: String(buckets[i] ?? '+Inf'), ...labels }, value: below }
        if (exemplars[i]) bucket.exemplar = exemplars[i]
        return bucket
      })
      return [...cumulative, { metricName: `${name}_sum`, labels, value: sum() }, { metricName: `${name}_count`, labels, value: below }]
    }),
  )
  return bound
}

function createBound<S>(make: () => S) {
  const series = new Map<string, [labels: Record<string, string>, series: S]>()
  return {
    all: () => [...series.values()],
    bind(labels: Record<string, string>): S {
      const id = JSON.stringify(Object.entries(labels).sort(([a], [b]) => a.localeCompare(b)))
      const entry = series.get(id) ?? [labels, make()]
      series.set(id, entry)
      return entry[1]
    },
  }
}

/** Registers an object with the only members that a registry reads. */
function register(registry: Registry, { labelNames, ...head }: Head<string> & { type: string }, read: () => Value[]): void {
  const metric = { ...head, labelNames, aggregator: 'sum', get: () => ({ ...head, aggregator: 'sum', values: read() }) }
  registry.registerMetric(metric as unknown as Metric)
}
