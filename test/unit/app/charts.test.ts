import { expect, it } from 'vitest'
import { type Chart, type ChartTexts, drawChart, niceTop } from '../../../src/app/console/charts.ts'
import { renderHealth } from '../../../src/app/console/health.pages.ts'
import { averages, COLUMNS, columnsOf, sums } from '../../../src/app/console/health-columns.ts'
import type { HealthSample } from '../../../src/app/console/health-history.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'

const names = ['period', 'start', 'middle', 'end', 'series', 'last', 'average', 'sum', 'highest', 'none', 'good', 'bad']
const texts = Object.fromEntries(names.map((name) => [name, name])) as unknown as ChartTexts
const draw = (chart: Partial<Chart>) =>
  drawChart({ id: 'it', title: 'A <title>', kind: 'lines', series: [], format: (value) => `${value}u`, ...chart }, texts).markup
const pathsOf = (markup: string) => [...markup.matchAll(/<path class="(?:line|bar) (\w+)" d="([^"]*)"/g)].map(([, tone, d]) => [tone, d])

it('a line has a gap where nothing is known, and a lone value is a stroke', () => {
  const markup = draw({ series: [{ name: 'one', tone: 'plain', values: [1, 2, null, 1] }] })
  expect(pathsOf(markup)).toEqual([['plain', 'M0.5 50L1.5 0M3.5 50h.5']])
})

it('bars stand on each other: the sum is drawn first, the others over it', () => {
  const series = [
    { name: 'one', tone: 'good' as const, values: [1, null, 2] },
    { name: 'two', tone: 'bad' as const, values: [4, null, 3] },
  ]
  expect(pathsOf(draw({ kind: 'bars', series }))).toEqual([
    ['bad', 'M0 100V0h1V100zM2 100V0h1V100z'],
    ['good', 'M0 100V80h1V100zM2 100V60h1V100z'],
  ])
})

it('the table says what the drawing shows', () => {
  const series = [{ name: 'one & only', tone: 'plain' as const, values: [1, 5, null, 3] }]
  const cells = (markup: string) => [...markup.matchAll(/<td>([^<]*)/g)].map(([, text]) => text)
  expect(cells(draw({ series }))).toEqual(['3u', '3u', '5u'])
  expect(cells(draw({ series, isCount: true }))).toEqual(['3u', '9u', '5u'])
  expect(draw({ series })).toContain('one &amp; only</th>')
})

it('has a name, a text, and neither a style nor a script of its own', () => {
  const markup = draw({ series: [{ name: 'one', tone: 'plain', values: [1] }] })
  expect(markup).toContain('role="img" aria-labelledby="it"')
  expect(markup).toContain('<figcaption id="it">A &lt;title&gt;</figcaption>')
  expect(markup).not.toMatch(/style=|<style|<script|\son\w+=/)
})

it('says so when nothing is known', () => {
  expect(draw({ series: [{ name: 'one', tone: 'plain', values: [null, null] }] })).toContain('none')
})

it('a state is a word and a height, not a colour alone', () => {
  const up = draw({ kind: 'states', series: [{ name: 'Redis', tone: 'good', values: [1, 0, 1] }] })
  expect(up).toContain('<strong class="good">good</strong>')
  expect(pathsOf(up)).toEqual([
    ['good', 'M0 0h1v10h-1zM2 0h1v10h-1z'],
    ['bad', 'M1 5h1v5h-1z'],
  ])
  expect(draw({ kind: 'states', series: [{ name: 'Redis', tone: 'good', values: [1, 0] }] })).toContain('<strong class="bad">bad</strong>')
})

it.each([
  [0, 1],
  [1, 1],
  [1.1, 2],
  [3, 5],
  [7, 10],
  [0.03, 0.05],
  [120, 200],
])('the top of a scale for %d is %d', (highest, top) => {
  expect(niceTop(highest)).toBeCloseTo(top, 10)
})

const NOW = 1_800_000_000_000
const sampleAt = (secondsAgo: number): HealthSample => ({
  at: NOW - secondsAgo * 1000,
  workers: 1,
  requests: { '2xx': 4, '3xx': 0, '4xx': 0, '5xx': 0 },
  errors: { forbidden: 2 },
  logins: {},
  limits: { allowed: 0, limited: 0 },
  latency: null,
  state: null,
})

it('samples fall into the column of their time; what is older than an hour is left out', () => {
  const columns = columnsOf([3700, 3599, 40, 25, 10, 0].map(sampleAt), NOW)
  expect(columns).toHaveLength(COLUMNS)
  expect(columns.map(({ length }) => length).filter(Boolean)).toEqual([1, 1, 3])
  expect(sums(columns, ({ errors }) => errors.forbidden!).at(-1)).toBe(6)
  expect(averages(columns, ({ requests }) => requests['2xx']).slice(-3)).toEqual([null, 4, 4])
  expect(averages(columns, ({ latency }) => latency?.p50Seconds ?? null).at(-1)).toBeNull()
})

it.each(['en', 'de'])('the page of health is small, and complete without samples, in %s', (code) => {
  const language = createTexts(['en', 'de']).of(code)
  const view = { now: NOW, language, redis: { url: 'memory' } }
  const empty = renderHealth({ everySeconds: 15, samples: [], upstreams: {} }, view).markup
  expect(empty.match(/<figure/g)).toHaveLength(9)
  const samples = Array.from({ length: 240 }, (_, i) => sampleAt((239 - i) * 15))
  const full = renderHealth({ everySeconds: 15, samples, upstreams: {} }, view).markup
  expect(full.length).toBeLessThan(40_000)
  expect(full).not.toMatch(/style=|undefined|NaN|\{\w+\}/)
})
