/**
 * Every query of every dashboard runs against the real Prometheus, after an hour of traffic and trouble. There is no Grafana here: the test
 * replaces the variables as Grafana does.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { buildGo, GO } from '../../support/go.ts'
import { createBlocks, type Labels, PROMETHEUS, type Prometheus, promtool, startPrometheus } from '../../support/prometheus.ts'
import { describeWith } from '../../support/tools.ts'
import { READ_EVERY, recordTrafficHour, type TrafficHour } from '../../support/traffic-hour.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const NAMES = ['requests', 'accounts', 'stores']
const fileOf = (name: string) => join(ROOT, `deploy/grafana/dashboards/${name}.json`)
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

interface Target {
  expr: string
  legendFormat: string
  instant: boolean
  exemplar?: boolean
}
interface Panel {
  id: number
  type: string
  title: string
  description: string
  gridPos: { x: number; y: number; w: number; h: number }
  fieldConfig: { defaults: { unit: string } }
  targets: Target[]
  panels?: Panel[]
}
interface Variable {
  name: string
  type: string
  query: string | { query: string }
  allValue?: string
}
interface Dashboard {
  uid: string
  panels: Panel[]
  templating: { list: Variable[] }
}

const dashboards = NAMES.map((name) => ({ name, ...(JSON.parse(readFileSync(fileOf(name), 'utf8')) as Dashboard) }))
const inPanels = (panels: Panel[]): Panel[] => panels.flatMap((panel) => [panel, ...inPanels(panel.panels ?? [])])
const panelsOf = ({ panels }: Dashboard) => inPanels(panels).filter(({ type }) => type !== 'row')

describe('the dashboards', () => {
  it.each(dashboards)('$name: each panel says what is normal, and has a unit and a legend', (dashboard) => {
    const panels = panelsOf(dashboard)
    expect(panels.length).toBeGreaterThan(10)
    for (const { title, description, fieldConfig, targets } of panels) {
      expect(description, title).toMatch(/^\S.*\.\n\n\*\*Normal:\*\* .+/)
      expect(fieldConfig.defaults.unit, title).not.toBe('')
      expect(targets.length, title).toBeGreaterThan(0)
      for (const { legendFormat } of targets) expect(legendFormat, title).not.toBe('')
    }
  })

  it.each(dashboards)('$name: each panel has its own number and its own place', ({ panels }) => {
    const all = inPanels(panels)
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length)
    const cells = all.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)}:${y + Math.floor(i / w)}`),
    )
    expect(new Set(cells).size).toBe(cells.length)
    expect(Math.max(...all.map(({ gridPos }) => gridPos.x + gridPos.w))).toBe(24)
  })

  it.each(dashboards)('$name: runbooks are those of alerts', (dashboard) => {
    const base = dashboard.templating.list.find(({ name }) => name === 'runbooks')!.query
    expect(read('deploy/prometheus/alerts.yml')).toContain(`runbook_url: ${base}#`)
    const sections = new Set([...read('docs/runbooks.md').matchAll(/^#+ (\w+)$/gm)].map(([, name]) => name!))
    const linked = panelsOf(dashboard).flatMap(({ description }) => [...description.matchAll(/\[Runbook (\w+)\]\(\$\{runbooks\}#(\w+)\)/g)])
    expect(linked.length).toBeGreaterThan(4)
    for (const [, name, anchor] of linked) {
      expect(sections).toContain(name)
      expect(anchor).toBe(name!.toLowerCase())
    }
  })

  it('times of requests and of upstreams show traces', () => {
    const timings = dashboards
      .flatMap(panelsOf)
      .flatMap(({ targets }) => targets)
      .filter(({ expr }) => /_(request_duration|upstream_duration|gateway_overhead)_seconds_bucket/.test(expr))
    expect(timings.length).toBeGreaterThan(5)
    expect(timings.filter(({ exemplar }) => !exemplar)).toEqual([])
  })
})

describeWith(GO, "Grafana's schema", () => {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-grafana-'))
  const program = join(dir, 'grafana-schema')
  beforeAll(() => {
    buildGo('grafana-schema', program)
  }, 300_000)
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const check = (text: string) => {
    try {
      return execFileSync(program, { input: text, encoding: 'utf8' })
    } catch (error) {
      return (error as { stdout: string }).stdout
    }
  }

  it.each(NAMES)('%s fits it', (name) => {
    expect(check(readFileSync(fileOf(name), 'utf8'))).toBe('')
  })

  it.each([
    ['an unknown option of a panel', '"fillOpacity"', '"opacity"', "unexpected field 'opacity'"],
    ['an unknown field of a query', '"legendFormat"', '"legend"', "unexpected field 'legend'"],
    ['a wrong type', '"refresh": "30s"', '"refresh": 30', 'cannot unmarshal number'],
    ['a missing field', '"schemaVersion": 42,', '', 'required field is missing'],
  ])('%s does not fit it', (_, part, other, message) => {
    expect(check(readFileSync(fileOf('requests'), 'utf8').replace(part, other))).toContain(message)
  })
})

describeWith(PROMETHEUS, 'the queries of the dashboards, after an hour of traffic', () => {
  const storage = mkdtempSync(join(tmpdir(), 'portcullis-dashboards-'))
  let hour: TrafficHour
  let prometheus: Prometheus

  beforeAll(async () => {
    hour = await recordTrafficHour(inject('postgresUrl'))
    createBlocks(hour.openMetrics, storage)
    const raw = await startPrometheus({ storage })
    // recording rules do not run over the past by themselves
    const { start, end } = hour
    const times = [`--start=${start}`, `--end=${end}`, '--eval-interval=1m']
    const rules = join(ROOT, 'deploy/prometheus/slo.yml')
    const made = promtool(['tsdb', 'create-blocks-from', 'rules', ...times, `--url=${raw.url}`, `--output-dir=${storage}`, rules])
    await raw.stop()
    expect(made, made.output).toMatchObject({ code: 0 })
    prometheus = await startPrometheus({ storage })
  }, 600_000)
  afterAll(async () => {
    await prometheus?.stop()
    rmSync(storage, { recursive: true, force: true })
  })

  /** What Grafana sends: a value is `All`, and readings are a minute apart, as the data source would say. */
  function interpolate(expr: string, { templating }: Dashboard): string {
    const values: Record<string, string> = {
      __rate_interval: `${4 * READ_EVERY}s`,
      __interval: `${READ_EVERY}s`,
      __range: `${hour.end - hour.start}s`,
    }
    for (const { name, allValue } of templating.list) if (allValue !== undefined) values[name] = allValue
    return expr.replace(/\$(\w+)/g, (all, name: string) => values[name] ?? all)
  }

  type Result = { labels: Labels; values: number[] }[]
  async function run({ expr, instant }: Target, dashboard: Dashboard): Promise<Result> {
    const query = interpolate(expr, dashboard)
    if (instant) return (await prometheus.query(query, hour.end)).map(({ labels, value }) => ({ labels, values: [value] }))
    const found = await prometheus.queryRange(query, hour.start, hour.end, READ_EVERY)
    return found.map(({ labels, values }) => ({ labels, values: values.map(([, value]) => value) }))
  }

  it.each(dashboards)('$name: no query is empty, and each legend names labels that exist', async (dashboard) => {
    const wrong: string[] = []
    for (const { title, targets } of panelsOf(dashboard))
      for (const target of targets) {
        const result = await run(target, dashboard)
        if (!result.some(({ values }) => values.some(Number.isFinite))) wrong.push(`${title}: no data: ${target.expr}`)
        const labels = [...target.legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!)
        for (const label of labels)
          if (result.some((series) => !(label in series.labels))) wrong.push(`${title}: no label ${label}: ${target.expr}`)
      }
    expect(wrong).toEqual([])
  })

  it.each(dashboards)('$name: each variable has values', async (dashboard) => {
    const found: Record<string, string[]> = {}
    for (const { name, type, query } of dashboard.templating.list) {
      if (type !== 'query') continue
      const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec((query as { query: string }).query)!
      found[name] = await prometheus.api(`label/${label}/values`, {
        'match[]': interpolate(selector!, dashboard),
        start: String(hour.start),
        end: String(hour.end),
      })
    }
    expect(found).toMatchObject({ job: ['portcullis'], instance: ['gateway-1:9090', 'gateway-2:9090'] })
    if ('route' in found) expect(found.route).toEqual(expect.arrayContaining(['catalog', 'orders', 'auth.login']))
  })

  /** All values that a panel shows. */
  async function shown(name: string, title: string, labels: Labels = {}): Promise<number[]> {
    const dashboard = dashboards.find((d) => d.name === name)!
    const panel = panelsOf(dashboard).find((p) => p.title === title)!
    const results = await Promise.all(panel.targets.map((target) => run(target, dashboard)))
    const wanted = results.flat().filter((series) => Object.entries(labels).every(([label, value]) => series.labels[label] === value))
    return wanted.flatMap(({ values }) => values)
  }
  const distinct = async (...panel: Parameters<typeof shown>) => new Set(await shown(...panel))
  const most = async (...panel: Parameters<typeof shown>) => Math.max(...(await shown(...panel)).filter(Number.isFinite))

  it('show that Postgres was away, and what that cost', async () => {
    expect(await distinct('stores', 'Postgres, as each gateway sees it')).toEqual(new Set([0, 1]))
    expect(await most('accounts', 'Logins that we could not judge')).toBeGreaterThan(0)
    expect(await most('requests', 'How fast is the error budget used up?')).toBeGreaterThan(14)
  })

  it('show that Redis was away, and that limits were counted elsewhere', async () => {
    expect(await distinct('stores', 'Redis, as each gateway sees it')).toEqual(new Set([0, 1]))
    expect(await most('stores', 'Why do calls of Redis fail?')).toBeGreaterThan(0)
    expect(await most('stores', 'Where are limits counted?', { tier: 'local' })).toBeGreaterThan(0)
  })

  it('show which upstream failed', async () => {
    expect(await distinct('requests', 'Health checks of each upstream', { upstream: 'orders:1' })).toEqual(new Set([0, 1]))
    expect(await distinct('requests', 'Health checks of each upstream', { upstream: 'orders:0' })).toEqual(new Set([1]))
    expect(await most('requests', 'Requests that failed at an upstream', { route: 'reports' })).toBeGreaterThan(0)
  })

  it('show that passwords were guessed, and that a refresh token was stolen', async () => {
    expect(await most('accounts', 'Which limits refuse?', { policy: 'account' })).toBeGreaterThan(0)
    expect(await most('accounts', 'Wrong passwords')).toBeGreaterThan(0.3)
    expect(await most('accounts', 'Reused refresh tokens')).toBeGreaterThan(0)
  })

  it('show that a worker was killed, and that a gateway was away', async () => {
    expect(await most('stores', 'Workers', { instance: 'gateway-1:9090' })).toBeGreaterThanOrEqual(2)
    const away = dashboards[0]!.panels.find(({ title }) => title === 'Gateways that answer')!.targets[1]!
    const past = await prometheus.queryRange(interpolate(away.expr, dashboards[0]!), hour.start, hour.end, READ_EVERY)
    expect(Math.max(...past.flatMap(({ values }) => values.map(([, value]) => value)))).toBe(1)
  })
})
