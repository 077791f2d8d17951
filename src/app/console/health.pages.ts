/** How the gateway does: its state now, and charts of the last hour. */
import { type Html, html } from '../../identity/pages/html.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { Language } from '../../platform/texts/texts.ts'
import { type Chart, type ChartTexts, drawChart, type Tone } from './charts.ts'
import { averages, columnsOf, highest, lowest, sums } from './health-columns.ts'
import type { HealthReport, HealthSample } from './health-history.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const healthSection = ({ config, clock, health }: ConsoleParts): ConsoleSection => ({
  path: '/health',
  text: 'console.health',
  pages(app, kit) {
    kit.define(app, {
      path: '/health',
      name: 'console.health',
      for: 'user',
      show: async ({ text, language }) => ({
        title: text('console.health'),
        body: renderHealth(await health(), { now: clock.now(), language, redis: config.redis }),
      }),
    })
  },
})

export interface HealthView {
  /** Milliseconds since the epoch. */
  now: number
  language: Language
  redis: Config['redis']
}

export function renderHealth(report: HealthReport, { now, language, redis }: HealthView): Html {
  const { text } = language
  const last = report.samples.at(-1)
  const texts = chartTextsOf(language)
  return html`<p class="lead">${last === undefined ? text('health.begins', { seconds: report.everySeconds }) : text('health.taken', { time: timeOf(last.at, language) })}
<a href="">${text('health.again')}</a></p>
${last && tilesOf(last, language, redis)}
<div class="charts">${chartsOf(columnsOf(report.samples, now), language, redis).map((chart) => drawChart(chart, texts))}</div>`
}

function tilesOf({ state, workers, requests, latency }: HealthSample, { code, text }: Language, redis: Config['redis']): Html {
  const number = numbersOf(code)
  const perSecond = requests['2xx'] + requests['3xx'] + requests['4xx'] + requests['5xx']
  const hasRedis = redis.url !== 'memory'
  return html`<dl class="tiles">
${tile(text('health.requests'), text('health.per-second', { value: number(perSecond) }))}
${tile(text('health.p99'), latency === null ? '–' : secondsOf(latency.p99Seconds, code))}
${tile(text('health.workers'), number(workers), workers > 0)}
${state && tile(text('health.postgres'), text(state.isDatabaseUp ? 'health.up' : 'health.down'), state.isDatabaseUp)}
${
  state &&
  tile(
    text('health.redis'),
    text(!hasRedis ? 'health.no-redis' : state.isBreakerOpen ? 'health.breaker-open' : state.isRedisUp ? 'health.up' : 'health.down'),
    hasRedis ? state.isRedisUp && !state.isBreakerOpen : undefined,
  )
}
${state && tile(text('health.lag'), secondsOf(state.revocationLagSeconds, code), state.revocationLagSeconds < LATE_SECONDS)}
</dl>`
}

/** Sign, word and colour: a state is never shown by colour alone. */
const tile = (name: string, value: string, isGood?: boolean): Html =>
  html`<div${isGood !== undefined && html` class="${isGood ? 'good' : 'bad'}"`}><dt>${name}</dt><dd>${isGood !== undefined && html`<span aria-hidden="true">${isGood ? '✓' : '✕'}</span> `}${value}</dd></div>`

/** Revocations are read each second: the readiness check calls the database away after this time, too. */
const LATE_SECONDS = 3

function chartsOf(columns: readonly HealthSample[][], { code, text }: Language, redis: Config['redis']): Chart[] {
  const number = numbersOf(code)
  const format = (value: number) => number(value)
  const perSecond = (value: number) => text('health.per-second', { value: number(value) })
  const seconds = (value: number) => secondsOf(value, code)
  const state =
    <T>(of: (state: NonNullable<HealthSample['state']>) => T) =>
    (sample: HealthSample) =>
      sample.state ? of(sample.state) : null
  const counts = (name: string, tone: Tone, of: (sample: HealthSample) => number) => ({ name, tone, values: sums(columns, of) })
  const codes = newestCodes(columns)
  const isUp = (of: (state: NonNullable<HealthSample['state']>) => boolean) =>
    lowest(
      columns,
      state((s) => Number(of(s))),
    )
  return [
    {
      id: 'requests',
      title: text('health.requests'),
      kind: 'bars',
      format: perSecond,
      series: (['2xx', '3xx', '4xx', '5xx'] as const).map((status) => ({
        name: text(`health.${status}`),
        tone: TONES[status],
        values: averages(columns, ({ requests }) => requests[status]),
      })),
    },
    {
      id: 'latency',
      title: text('health.latency'),
      kind: 'lines',
      format: seconds,
      series: [
        { name: text('health.p50'), tone: 'plain', values: averages(columns, ({ latency }) => latency?.p50Seconds ?? null) },
        { name: text('health.p99'), tone: 'warn', values: highest(columns, ({ latency }) => latency?.p99Seconds ?? null) },
      ],
    },
    {
      id: 'errors',
      title: text('health.errors'),
      kind: 'bars',
      isCount: true,
      format,
      series: [
        ...codes.shown.map((name, i) => counts(name, ERROR_TONES[i]!, ({ errors }) => errors[name] ?? 0)),
        ...(codes.shown.length === 0 || codes.hasOthers
          ? [counts(text(codes.hasOthers ? 'health.other' : 'health.errors'), 'soft', ({ errors }) => sumOf(errors, codes.shown))]
          : []),
      ],
    },
    {
      id: 'logins',
      title: text('health.logins'),
      kind: 'bars',
      isCount: true,
      format,
      series: [
        counts(text('health.login-success'), 'good', ({ logins }) => logins.success ?? 0),
        counts(text('health.login-step'), 'plain', ({ logins }) => logins.mfa_required ?? 0),
        counts(text('health.login-wrong'), 'warn', ({ logins }) => logins.invalid_credentials ?? 0),
        counts(text('health.login-other'), 'bad', ({ logins }) => sumOf(logins, ['success', 'mfa_required', 'invalid_credentials'])),
      ],
    },
    {
      id: 'limits',
      title: text('health.limits'),
      kind: 'bars',
      isCount: true,
      format,
      series: [
        counts(text('health.allowed'), 'plain', ({ limits }) => limits.allowed),
        counts(text('health.limited'), 'bad', ({ limits }) => limits.limited),
      ],
    },
    {
      id: 'stores',
      title: text('health.stores'),
      kind: 'states',
      format,
      series: [
        { name: text('health.postgres'), tone: 'good', values: isUp((s) => s.isDatabaseUp) },
        ...(redis.url === 'memory'
          ? []
          : [{ name: text('health.redis'), tone: 'good' as const, values: isUp((s) => s.isRedisUp && !s.isBreakerOpen) }]),
      ],
    },
    {
      id: 'pool',
      title: text('health.pool'),
      kind: 'lines',
      format,
      atLeast: 2,
      series: [
        {
          name: text('health.busy'),
          tone: 'plain',
          values: averages(
            columns,
            state((s) => s.pool.busy),
          ),
        },
        {
          name: text('health.idle'),
          tone: 'soft',
          values: averages(
            columns,
            state((s) => s.pool.idle),
          ),
        },
        {
          name: text('health.waiting'),
          tone: 'bad',
          values: highest(
            columns,
            state((s) => s.pool.waiting),
          ),
        },
      ],
    },
    {
      id: 'lag',
      title: text('health.lag'),
      kind: 'lines',
      format: seconds,
      atLeast: LATE_SECONDS,
      series: [
        {
          name: text('health.lag'),
          tone: 'plain',
          values: highest(
            columns,
            state((s) => s.revocationLagSeconds),
          ),
        },
      ],
    },
    {
      id: 'workers',
      title: text('health.workers'),
      kind: 'bars',
      format,
      series: [{ name: text('health.workers'), tone: 'plain', values: lowest(columns, ({ workers }) => workers) }],
    },
  ]
}

const TONES = { '2xx': 'good', '3xx': 'plain', '4xx': 'warn', '5xx': 'bad' } as const
const ERROR_TONES = ['bad', 'warn', 'plain', 'good'] as const

/** The most frequent codes of the hour: as many as there are colours. */
function newestCodes(columns: readonly HealthSample[][]): { shown: string[]; hasOthers: boolean } {
  const totals = new Map<string, number>()
  for (const { errors } of columns.flat())
    for (const [name, count] of Object.entries(errors)) totals.set(name, (totals.get(name) ?? 0) + count)
  const names = [...totals].sort(([a, m], [b, n]) => n - m || a.localeCompare(b)).map(([name]) => name)
  return { shown: names.slice(0, ERROR_TONES.length), hasOthers: names.length > ERROR_TONES.length }
}

const sumOf = (counts: Record<string, number>, besides: readonly string[]): number =>
  Object.entries(counts).reduce((sum, [name, count]) => (besides.includes(name) ? sum : sum + count), 0)

const numbersOf = (code: string) => {
  const form = new Intl.NumberFormat(code, { maximumSignificantDigits: 3 })
  return (value: number) => form.format(value)
}

/** Milliseconds below a second. */
function secondsOf(value: number, code: string): string {
  const isShort = value < 1
  return new Intl.NumberFormat(code, {
    style: 'unit',
    unit: isShort ? 'millisecond' : 'second',
    unitDisplay: 'short',
    maximumSignificantDigits: 3,
  }).format(isShort ? value * 1000 : value)
}

const timeOf = (at: number, { code }: Language): string =>
  new Intl.DateTimeFormat(code, { timeStyle: 'medium', hourCycle: 'h23', timeZone: 'UTC' }).format(at)

const CHART_TEXTS = {
  period: 'chart.period',
  start: 'chart.start',
  middle: 'chart.middle',
  end: 'chart.end',
  series: 'chart.series',
  last: 'chart.last',
  average: 'chart.average',
  sum: 'chart.sum',
  highest: 'chart.highest',
  none: 'chart.none',
  good: 'health.up',
  bad: 'health.down',
} as const satisfies Record<keyof ChartTexts, TextKey>

const chartTextsOf = ({ text }: Language): ChartTexts =>
  Object.fromEntries(Object.entries(CHART_TEXTS).map(([name, key]) => [name, text(key)])) as unknown as ChartTexts
