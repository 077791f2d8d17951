/** Writes the results, as a Markdown page for people and as JSON for programs. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MachineFacts } from './machine.ts'
import type { Failure, Measured, Options } from './measure.ts'

export interface Result {
  machine: MachineFacts & { upstream: string; database: string; wrk: string }
  options: Options
  subjects: Measured[]
  /** The first entry is the gateway with everything on, measured in the same turns. */
  ablations: Measured[]
  redisCalls: RedisCalls[]
  addedLatency: AddedLatency[]
  workers: Workers | null
  ratios: Ratio[]
  notRun: Failure[]
  tried: { name: string; tried: string }[]
}

export interface RedisCalls {
  /** Per minute, of each of the two limits. */
  limit: number
  requests: number
  /** Calls that the gateway sent, for each 1,000 admitted requests. */
  callsPer1000: number
  /** From `INFO commandstats`, which also counts the calls inside scripts. */
  commandsPer1000: number
  /** The share of decisions that were made while Redis counted as away, so that the calls lack them. */
  shareWithoutRedis: number
}

export interface AddedLatency {
  name: string
  /** Of single requests: their p50, less that of requests directly to the upstream. */
  p50Ms: number
}

export interface Workers {
  cpuRatio: number
  throughputRatio: number
}

export interface Ratio {
  name: string
  value: number
  must?: number
  goal?: number
  /** Lower is better unless this is set. */
  isMoreBetter?: boolean
}

export const isMissed = ({ value, must, isMoreBetter }: Ratio): boolean =>
  must !== undefined && (isMoreBetter ? value < must : value > must)
const isGoal = ({ value, goal, isMoreBetter }: Ratio): boolean => goal !== undefined && (isMoreBetter ? value >= goal : value <= goal)

/** The bounds that the gateway must keep. */
export function findRatios({ subjects, redisCalls, addedLatency, workers }: Omit<Result, 'ratios'>): Ratio[] {
  const cpuOf = (name: string) => subjects.find((s) => s.name === name)?.median.cpuUs ?? Number.NaN
  const on = cpuOf('gateway')
  const others = subjects.map(({ name }) => name).filter((name) => !['gateway', 'bare', 'raw', 'naive'].includes(name))
  const ratios: Ratio[] = [
    { name: 'everything on ÷ bare', value: on / cpuOf('bare'), must: 0.95, goal: 0.8 },
    { name: 'everything on ÷ raw', value: on / cpuOf('raw'), must: 1.45, goal: 1.2 },
    { name: 'naive ÷ everything on', value: cpuOf('naive') / on, must: 1.7, goal: 2, isMoreBetter: true },
    ...others.map((name) => ({ name: `everything on ÷ ${name}`, value: on / cpuOf(name), ...(GO.has(name) ? { goal: 1 } : {}) })),
    ...redisCalls.map(({ limit, callsPer1000 }) => ({
      name: `Redis calls per 1,000 requests, limits of ${limit.toLocaleString('en')}/min`,
      value: callsPer1000,
      must: 20,
      goal: 5,
    })),
    ...addedLatency
      .filter(({ name }) => name === 'gateway')
      .map(({ p50Ms }) => ({ name: 'added latency, one at a time, p50 ms', value: p50Ms, must: 0.35, goal: 0.2 })),
    ...(workers ? [{ name: 'CPU per request, 2 workers ÷ 1', value: workers.cpuRatio, must: 1.1, goal: 1.03 }] : []),
  ]
  return ratios.filter(({ value }) => Number.isFinite(value))
}

const GO = new Set(['caddy', 'oauth2-proxy', 'krakend', 'oathkeeper'])

export const table = (head: string[], rows: (string | number)[][]) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

function spread({ median, samples }: Measured): string {
  const all = samples.map((s) => s.cpuUs)
  return `${median.cpuUs.toFixed(1)} (${Math.min(...all).toFixed(1)}–${Math.max(...all).toFixed(1)})`
}

const bound = ({ isMoreBetter }: Ratio, number?: number) => (number === undefined ? '' : `${isMoreBetter ? '≥' : '≤'} ${number}`)

export function toMarkdown(result: Result): string {
  const { machine, options, subjects, ablations, redisCalls, addedLatency, workers, ratios, notRun, tried } = result
  const [whole, ...parts] = ablations
  const doubted = [...subjects, ...ablations].filter(({ doubt }) => doubt)
  const section = (title: string, isThere: unknown, ...lines: string[]) => (isThere ? [`## ${title}`, ...lines] : [])
  return [
    '# Side by side',
    `${machine.date}; ${machine.cpu}, ${machine.cpus} CPUs; load average before: ${machine.loadBefore}; Node ${machine.node}; wrk ${machine.wrk}; upstream: ${machine.upstream}; database: ${machine.database}.`,
    `Medians of ${options.runs} runs of ${options.seconds} s in turns, ${options.connections} connections. The subject has CPU 0 for itself; wrk, the upstream, Redis and Postgres share CPU 1. Compare ratios, never figures from two runs.`,
    ...section(
      'Subjects',
      subjects.length,
      table(
        ['subject', 'CPU µs per request (range)', 'requests/s', 'p50 ms', 'p99 ms', 'peak RSS MiB', 'what it does', 'version'],
        subjects.map((s) => [
          s.name,
          spread(s),
          s.median.requestsPerSecond.toFixed(0),
          s.median.p50Ms.toFixed(2),
          s.median.p99Ms.toFixed(2),
          s.median.peakRssMiB.toFixed(0),
          s.does,
          s.version,
        ]),
      ),
    ),
    ...section(
      'Ratios',
      ratios.length,
      table(
        ['', 'measured', 'must', 'goal', ''],
        ratios.map((r) => [
          r.name,
          r.value.toFixed(2),
          bound(r, r.must),
          bound(r, r.goal),
          isMissed(r) ? 'MISSED' : isGoal(r) ? 'goal' : r.must === undefined ? '' : 'held',
        ]),
      ),
    ),
    ...section(
      'What each part costs',
      parts.length,
      `The gateway with everything on takes ${whole && spread(whole)} µs in these turns. Without each part:`,
      table(
        ['part removed', 'CPU µs per request (range)', 'cost of the part, µs', 'what is removed'],
        parts.map((p) => [p.name, spread(p), (whole!.median.cpuUs - p.median.cpuUs).toFixed(1), p.does]),
      ),
    ),
    ...section(
      'Redis calls',
      redisCalls.length,
      'Hot keys below two limits, every request admitted; per 1,000 requests.',
      table(
        ['limits', 'requests', 'calls sent', 'commands executed, inside scripts as well', 'decided without Redis'],
        redisCalls.map((r) => [
          `${r.limit.toLocaleString('en')}/min`,
          r.requests,
          r.callsPer1000.toFixed(1),
          r.commandsPer1000.toFixed(1),
          `${(r.shareWithoutRedis * 100).toFixed(1)} %`,
        ]),
      ),
    ),
    ...section(
      'Added latency',
      addedLatency.length,
      'One request at a time: p50 less that of the upstream asked directly.',
      table(
        ['through', 'ms'],
        addedLatency.map((l) => [l.name, l.p50Ms.toFixed(3)]),
      ),
    ),
    ...section(
      'Two workers',
      workers,
      'Both CPUs for either of them, shared with the load.',
      table(
        ['', '2 workers ÷ 1'],
        [
          ['CPU per request', workers?.cpuRatio.toFixed(2) ?? ''],
          ['requests/s', workers?.throughputRatio.toFixed(2) ?? ''],
        ],
      ),
    ),
    ...section('Doubts', doubted.length, doubted.map(({ name, doubt }) => `- ${name}: ${doubt}`).join('\n')),
    ...section(
      'Not run',
      notRun.length,
      table(
        ['', 'why'],
        notRun.map(({ name, reason }) => [name, reason.replaceAll('\n', '<br>').replaceAll('|', '\\|')]),
      ),
    ),
    ...section(
      'How the gateways in Go were built',
      tried.length,
      table(
        ['', ''],
        tried.map((t) => [t.name, t.tried]),
      ),
    ),
    '',
  ].join('\n\n')
}

export function writeResult(folder: string, result: Result): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'latest.md'), `${toMarkdown(result).trimEnd()}\n`)
  writeFileSync(join(folder, 'latest.json'), `${JSON.stringify(result, null, 2)}\n`)
}
