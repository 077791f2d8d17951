/**
 * The answer to a scrape: the text format of Prometheus, or OpenMetrics 1.0 for a scraper that asks for it. Only OpenMetrics has exemplars.
 * prom-client's own OpenMetrics renames the counters of a registry for good, so that a registry could not answer in both formats.
 */
import Negotiator from 'negotiator'
import { Registry, type RegistryContentType } from 'prom-client'
import type { Exemplar } from './fast-metrics.ts'
import type { MetricValues } from './metrics.ts'

export type Format = 'text' | 'openMetrics'

export const CONTENT_TYPES: Record<Format, string> = {
  text: Registry.PROMETHEUS_CONTENT_TYPE,
  openMetrics: Registry.OPENMETRICS_CONTENT_TYPE,
}

const OPEN_METRICS = [
  'application/openmetrics-text;version=1.0.0',
  'application/openmetrics-text;version=0.0.1',
  'application/openmetrics-text',
]
const TEXT = ['text/plain;version=0.0.4', 'text/plain']

/** The format that the header `Accept` prefers. Text for everybody who does not ask for OpenMetrics by name. */
export function formatFor(accept: string | undefined): Format {
  if (!accept?.includes('application/openmetrics-text')) return 'text'
  // of types that are equally welcome, Negotiator takes the one that the header names first
  const [preferred] = new Negotiator({ headers: { accept } }).mediaTypes([...TEXT, ...OPEN_METRICS])
  return OPEN_METRICS.includes(preferred ?? '') ? 'openMetrics' : 'text'
}

export const expose = async (registry: Registry<RegistryContentType>, format: Format): Promise<string> =>
  format === 'text' ? registry.metrics() : openMetrics((await registry.getMetricsAsJSON()) as MetricValues[])

/** https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md. A bucket has the same `le` in both formats: 1, and not 1.0. */
function openMetrics(metrics: readonly MetricValues[]): string {
  const lines: string[] = []
  for (const { name, help, type, values } of metrics) {
    const isCounter = String(type) === 'counter'
    const family = isCounter ? name.replace(/_total$/, '') : name
    lines.push(`# HELP ${family} ${escapeText(help)}`, `# TYPE ${family} ${type}`)
    for (const { metricName = isCounter ? `${family}_total` : name, labels, value, exemplar } of values)
      lines.push(`${metricName}${labelsText(labels)} ${numberText(value)}${exemplar ? exemplarText(exemplar) : ''}`)
  }
  lines.push('# EOF', '')
  return lines.join('\n')
}

function labelsText(labels: Partial<Record<string, string | number>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeText(String(value))}"`)
  return parts.length ? `{${parts.join(',')}}` : ''
}

const exemplarText = ({ traceId, spanId, value, timestamp }: Exemplar): string =>
  ` # {trace_id="${traceId}",span_id="${spanId}"} ${numberText(value)} ${timestamp}`

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '"': '\\"' }
const escapeText = (text: string): string => text.replace(/[\\\n"]/g, (character) => ESCAPES[character]!)

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
}
