/** What rules, dashboards and documentation name exists: in the answers of gateways that clients use, as a real Prometheus stores them. */
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { TOOL_PATH, until } from '../../support/processes.ts'
import { PROMETHEUS, type Prometheus, startPrometheus } from '../../support/prometheus.ts'
import { expressionsIn, labelsIn, recordedIn, seriesIn } from '../../support/rules.ts'
import { describeWith } from '../../support/tools.ts'
import { startWatchedGateways, type WatchedGateways } from '../../support/watched-gateways.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const read = (path: string) => readFileSync(ROOT + path, 'utf8')

/** Samples of these need a rare fault: their metadata shows that the gateway has them. */
const RARE: Record<string, string> = {
  portcullis_shed_total: 'a process that is too busy',
  portcullis_cleanup_failures_total: 'a cleanup that fails',
}
/** Labels that Prometheus adds. */
const OF_PROMETHEUS = ['job', 'instance']

const recorded = new Set(recordedIn(read('deploy/prometheus/slo.yml')))

/** Name, type and labels of each row of docs/metrics.md. */
const documented = [...read('docs/metrics.md').matchAll(/^\| `(\w+)` \| (\w+) \| ([^|]*) \|/gm)].map(([, name, type, labels]) => ({
  name: name!,
  series: type === 'histogram' ? `${name}_bucket` : name!,
  labels: [...labels!.matchAll(/\w+/g)].map(([label]) => label),
}))

describeWith(PROMETHEUS, 'Series', () => {
  let gateways: WatchedGateways
  let prometheus: Prometheus
  /** The labels of each series that was scraped or recorded. */
  let labelsOf: Map<string, Set<string>>

  beforeAll(async () => {
    gateways = await startWatchedGateways(inject('postgresUrl'))
    prometheus = await startPrometheus({
      targets: gateways.adminUrls.map((url) => new URL(url).host),
      rules: ['alerts.yml', 'slo.yml'].map((file) => `${ROOT}deploy/prometheus/${file}`),
      scrapeIntervalMs: 1000,
      evaluationIntervalMs: 1000,
    })
    await prometheus.scraped()
    labelsOf = new Map()
    for (const { __name__, ...labels } of await prometheus.api<Record<string, string>[]>('series', { 'match[]': '{__name__!=""}' })) {
      const known = labelsOf.get(__name__!) ?? new Set()
      for (const label of Object.keys(labels)) known.add(label)
      labelsOf.set(__name__!, known)
    }
  }, 120_000)
  afterAll(async () => {
    await prometheus?.stop()
    await gateways?.close()
  })

  it('every documented series is scraped, with its labels', async () => {
    const missing = documented.filter(({ name, series }) => !labelsOf.has(series) && !(name in RARE)).map(({ name }) => name)
    expect(missing).toEqual([])
    const lacking = documented.flatMap(({ name, series, labels }) =>
      labels.filter((label) => labelsOf.has(series) && !labelsOf.get(series)!.has(label)).map((label) => `${name}{${label}}`),
    )
    expect(lacking).toEqual([])
    expect(documented.length).toBeGreaterThan(60)
  })

  it('series whose samples need a rare fault are scraped with their help and type', async () => {
    const metadata = await prometheus.metadata()
    for (const name of Object.keys(RARE)) expect(metadata[name], name).toMatchObject([{ type: 'counter' }])
    expect(Object.keys(RARE).filter((name) => labelsOf.has(name))).toEqual([])
  })

  it('every scraped series of the gateway is documented', () => {
    const known = new Set(documented.flatMap(({ name }) => [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]))
    const own = [...labelsOf.keys()].filter((name) => name.startsWith('portcullis_'))
    expect(own.filter((name) => !known.has(name))).toEqual([])
  })

  const dashboards = globSync('deploy/grafana/**/*.json', { cwd: ROOT })
  const rules = globSync('deploy/prometheus/*.yml', { cwd: ROOT })
  const pages = globSync(['docs/**/*.md', 'README.md', 'load/README.md'], { cwd: ROOT })

  /** Series and labels that an expression names and that do not exist. */
  function faultsOf(expression: string, alsoKnown: readonly string[] = []): string[] {
    const declared = (name: string) => documented.find((metric) => metric.name === name)?.labels ?? []
    const labelsOfSeries = (name: string) => [...(labelsOf.get(name) ?? declared(name)), ...OF_PROMETHEUS]
    const names = seriesIn(expression)
    const unknown = names.filter((name) => !labelsOf.has(name) && !recorded.has(name) && !(name in RARE) && !alsoKnown.includes(name))
    const usable = new Set(names.flatMap(labelsOfSeries))
    return [...unknown, ...labelsIn(expression).filter((label) => !usable.has(label))].map((fault) => `${fault} in ${expression}`)
  }

  it('the check of an expression finds what does not exist', () => {
    expect(faultsOf('sum by (route) (rate(portcullis_http_requests_total{status="200"}[5m]))')).toEqual([])
    expect(faultsOf('sum by (path) (portcullis_http_requests_total)')).toHaveLength(1)
    expect(faultsOf('portcullis_http_requests_total{path="/"}')).toHaveLength(1)
    expect(faultsOf('rate(portcullis_requests_total[5m])')).toHaveLength(1)
    expect(faultsOf('sum by (class) (label_replace(portcullis_http_requests_total, "class", "$1", "status", "(.).."))')).toEqual([])
    expect(faultsOf('sum by (class) (label_replace(portcullis_http_requests_total, "class", "$1", "path", "(.).."))')).toHaveLength(1)
    expect(faultsOf('job:portcullis_nothing:ratio_rate5m')).toHaveLength(1)
  })

  it.each(rules.filter((file) => !file.endsWith('prometheus.yml')))('%s names only series and labels that exist', (file) => {
    const expressions = expressionsIn(read(file))
    expect(expressions.length).toBeGreaterThan(5)
    expect(expressions.flatMap((expression) => faultsOf(expression))).toEqual([])
  })

  it('dashboards name only series and labels that exist', () => {
    const expressions = dashboards.flatMap((file) => [...read(file).matchAll(/"expr": ("(?:[^"\\]|\\.)*")/g)].map((m) => JSON.parse(m[1]!)))
    expect(expressions.flatMap((expression) => faultsOf(withoutVariables(expression)))).toEqual([])
    if (dashboards.length > 0) expect(expressions.length).toBeGreaterThan(10)
  })

  it.each(pages)('%s names only series and labels that exist', (page) => {
    const named = [
      ...read(page).matchAll(/`([^`\n]*\b(?:portcullis_[a-z0-9_]+|portcullis:\w+)[^`\n]*)`|'([^'\n]*\bportcullis_[a-z0-9_]+[^'\n]*)'/g),
    ]
    const expressions = named.map(([, span, quoted]) => span ?? quoted!)
    // `portcullis_redis_errors_total{kind}` names a label
    expect(
      expressions
        .map((text) => text.replace(/\{([a-z_, ]+)\}/g, (_, labels) => `{${labels.replaceAll(/\w+/g, '$&=""')}}`))
        // a histogram may be named without the suffixes of its series
        .flatMap((text) =>
          faultsOf(
            text,
            documented.map(({ name }) => name),
          ),
        ),
    ).toEqual([])
  })

  it('documentation writes series with their prefix', () => {
    const names = new Set(documented.map(({ name }) => name))
    const bare = pages.flatMap((page) =>
      [...read(page).matchAll(/`([a-z0-9_]+(?:_total|_seconds))(?:\{[^`]*\})?`/g)]
        .map((m) => m[1]!)
        .filter((name) => names.has(`portcullis_${name}`)),
    )
    expect(bare).toEqual([])
  })

  it('what is recorded has values as soon as there is traffic, and no rule is broken', async () => {
    for (const name of recorded)
      await until(async () => {
        const [sample] = await prometheus.query(name)
        if (!sample) await gateways.work()
        return sample && sample.value >= 0 && sample.value <= 1
      }, name)
    const { groups } = await prometheus.api<{ groups: { rules: { name: string; lastError?: string }[] }[] }>('rules')
    expect(groups.flatMap(({ rules }) => rules).filter(({ lastError }) => lastError)).toEqual([])
    expect(groups.flatMap(({ rules }) => rules).length).toBeGreaterThan(50)
  })

  it('the commands of the runbooks that ask Prometheus and the gateway work', () => {
    const commands = [...read('docs/runbooks.md').matchAll(/^(?:promtool|curl) .*$/gm)].map(([line]) => line)
    const env = { PATH: TOOL_PATH, ADMIN: gateways.adminUrls[0], PROMETHEUS: prometheus.url }
    const failed = [...new Set(commands)].flatMap((command) => {
      const { status, stderr } = spawnSync('sh', ['-c', command], { env, encoding: 'utf8' })
      return status === 0 ? [] : [`${command}: ${stderr}`]
    })
    expect(failed).toEqual([])
    expect(commands.length).toBeGreaterThan(40)
  })
})

/** Grafana's variables: `$__rate_interval` is a duration, `$route` is a value. */
const withoutVariables = (expression: string): string =>
  expression.replace(/\[\$__\w+\]/g, '[5m]').replace(/\$\{?__?(?:rate_interval|interval|range)\}?/g, '5m')
