/** `docs/metrics.md`, from the registry. */
import { createMetrics } from '../telemetry/metrics.ts'
import { code, row } from './markdown.ts'

/** Members of a metric that prom-client's types leave out. */
interface Described {
  name: string
  /** Only plain objects have a type; prom-client's metrics are known by their class. */
  type?: string
  help: string
  labelNames: readonly string[]
  aggregator: string
}

const PREFIX = 'portcullis_'
const PREFACE = `<!-- Made by \`npm run schema\` from src/platform/telemetry/metrics.ts: change it there. -->
# Metrics

Prometheus reads the metrics at \`/metrics\` of the admin listener, by default \`http://127.0.0.1:9090/metrics\`. With several processes, one
answer has the metrics of all of them: counters and histograms are summed, and each gauge is merged as its column "merged by" says.
Labels are names of routes and policies, codes and outcomes. No label is a path, a user or an address. The label \`code\` has the codes of
[errors.md](errors.md). Times are in seconds. [Monitoring](monitoring.md) says how to scrape them, and has alerts.
`
const RUNTIME = `## Of the process

The usual metrics of Node.js are there, too. Their names begin with \`process_\` (CPU, memory, file descriptors) and \`nodejs_\` (event loop,
heap, garbage collection). With several processes they describe the supervisor.
`

export function metricsPage(): string {
  const { registry } = createMetrics('')
  const all = registry.getMetricsAsArray() as unknown as Described[]
  const own = all.filter(({ name }) => name.startsWith(PREFIX)).sort((a, b) => (a.name < b.name ? -1 : 1))
  const rows = own.map((metric) => {
    const { name, labelNames, help, aggregator } = metric
    const type = metric.type ?? metric.constructor.name.toLowerCase()
    return row([code(name), type, labelNames.map(code).join(', '), type === 'gauge' ? aggregator : '', help])
  })
  return [PREFACE, '| Metric | Type | Labels | Merged by | |', '|---|---|---|---|---|', ...rows, '', RUNTIME].join('\n')
}
