/** The real Prometheus (Debian's package), on a free port of loopback, with a folder of its own. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, start, TOOL_PATH, until } from './processes.ts'
import type { Tool } from './tools.ts'

export const PROMETHEUS: Tool = { program: 'prometheus', remedy: 'Install the Debian package prometheus.' }
export const PROMTOOL: Tool = { program: 'promtool', remedy: 'Install the Debian package prometheus.' }

export type Labels = Record<string, string>

/** A series at one instant. Prometheus sends numbers as text, because JSON has no NaN. */
export interface Sample {
  labels: Labels
  value: number
}

export interface SeriesOfExemplars {
  seriesLabels: Labels
  exemplars: { labels: Labels; value: string; timestamp: number }[]
}

/** `seconds since the epoch`, or a Date. */
type Time = number | Date

export interface Prometheus {
  url: string
  /** The samples of an instant query. @param time default: now. Throws Prometheus' own message when the query is wrong. */
  query(promql: string, time?: Time): Promise<Sample[]>
  /** The samples of a range query, a list for each series. */
  queryRange(
    promql: string,
    from: Time,
    to: Time,
    stepSeconds: number,
  ): Promise<{ labels: Labels; values: [time: number, value: number][] }[]>
  /** The exemplars of all series that the query names. @param from default: an hour ago @param to default: in an hour */
  queryExemplars(promql: string, from?: Time, to?: Time): Promise<SeriesOfExemplars[]>
  /** Type and help of each scraped metric, by the name of its series: counters end with `_total`. */
  metadata(): Promise<Record<string, { type: string; help: string }[]>>
  /** Any answer of `/api/v1/…`: its `data`. */
  api<T>(path: string, parameters?: Record<string, string>): Promise<T>
  /** Waits until every target was scraped without an error. */
  scraped(): Promise<void>
  output(): string
  stop(): Promise<void>
}

export interface PrometheusOptions {
  /** Addresses `host:port` of listeners with `/metrics`. They are scraped as the job `portcullis`. */
  targets?: string[]
  /** Files of rules. */
  rules?: string[]
  /** A folder with blocks, see `createBlocks`. It is kept. Default: an empty folder, which is removed at the end. */
  storage?: string
  /** Default: 200. */
  scrapeIntervalMs?: number
  /** Default: 200. */
  evaluationIntervalMs?: number
}

export async function startPrometheus({
  targets = [],
  rules = [],
  storage,
  scrapeIntervalMs = 200,
  evaluationIntervalMs = 200,
}: PrometheusOptions = {}): Promise<Prometheus> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-prometheus-'))
  const file = join(dir, 'prometheus.json')
  // JSON is YAML
  const config = {
    global: {
      scrape_interval: `${scrapeIntervalMs}ms`,
      scrape_timeout: `${scrapeIntervalMs}ms`,
      evaluation_interval: `${evaluationIntervalMs}ms`,
    },
    rule_files: rules,
    scrape_configs: [{ job_name: 'portcullis', static_configs: [{ targets }] }],
  }
  writeFileSync(file, JSON.stringify(config))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const child = start(
    'prometheus',
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${storage ?? join(dir, 'data')}`,
      // blocks may be of any age
      '--storage.tsdb.retention.time=100y',
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=warn',
    ],
    { env: { PATH: TOOL_PATH } },
  )
  const stop = async () => {
    await child.stop()
    rmSync(dir, { recursive: true, force: true })
  }
  const isGone = () => child.child.exitCode !== null || child.child.signalCode !== null
  try {
    await until(async () => isGone() || (await fetch(`${url}/-/ready`)).ok, 'Prometheus', 60_000)
    if (isGone()) throw new Error(`Prometheus ended while it was starting:\n${child.output()}`)
  } catch (error) {
    await stop()
    throw error
  }

  async function api<T>(path: string, parameters: Record<string, string> = {}): Promise<T> {
    const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`)
    const body = (await answer.json()) as { status: string; error?: string; data: T }
    if (body.status !== 'success') throw new Error(`Prometheus: ${body.error} (${JSON.stringify(parameters)})`)
    return body.data
  }
  const at = (time: Time) => String(time instanceof Date ? time.getTime() / 1000 : time)
  type Vector = { result: { metric: Labels; value: [number, string] }[] }
  type Matrix = { result: { metric: Labels; values: [number, string][] }[] }
  const now = () => Date.now() / 1000

  return {
    url,
    api,
    async query(promql, time) {
      const { result } = await api<Vector>('query', { query: promql, ...(time !== undefined && { time: at(time) }) })
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }))
    },
    async queryRange(promql, from, to, stepSeconds) {
      const { result } = await api<Matrix>('query_range', { query: promql, start: at(from), end: at(to), step: String(stepSeconds) })
      return result.map(({ metric, values }) => ({ labels: metric, values: values.map(([time, value]) => [time, Number(value)]) }))
    },
    queryExemplars: (promql, from = now() - 3600, to = now() + 3600) =>
      api<SeriesOfExemplars[]>('query_exemplars', { query: promql, start: at(from), end: at(to) }),
    async metadata() {
      const families = await api<Record<string, { type: string; help: string }[]>>('metadata')
      const nameOf = (family: string, type?: string) => (type === 'counter' ? `${family.replace(/_total$/, '')}_total` : family)
      return Object.fromEntries(Object.entries(families).map(([family, described]) => [nameOf(family, described[0]?.type), described]))
    },
    async scraped() {
      const isScraped = async () => {
        const { activeTargets } = await api<{ activeTargets: { health: string; lastError: string }[] }>('targets', { state: 'active' })
        const bad = activeTargets.find(({ lastError }) => lastError)
        if (bad) throw new Error(bad.lastError)
        return activeTargets.length === targets.length && activeTargets.every(({ health }) => health === 'up')
      }
      await until(isScraped, 'a scrape of every target')
    },
    output: child.output,
    stop,
  }
}

/** Runs promtool. @returns its exit code, and standard output and standard error together */
export function promtool(args: string[], options: { input?: string; cwd?: string } = {}): { code: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { ...options, env: { PATH: TOOL_PATH }, encoding: 'utf8' })
  return { code: status, output: stdout + stderr }
}

/** Makes blocks for `storage` from text in the format of OpenMetrics with a time behind each sample. @returns the folder */
export function createBlocks(openMetrics: string, folder: string): string {
  const file = join(folder, 'samples.om')
  writeFileSync(file, openMetrics)
  execFileSync('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', file, folder], { env: { PATH: TOOL_PATH }, stdio: 'pipe' })
  rmSync(file)
  return folder
}
