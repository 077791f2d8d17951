/** Low load, then suddenly three times the maximum, then low load: what fails, and how long until it is as before? */
import { check } from 'k6'
import exec from 'k6/execution'
import type { RefinedResponse } from 'k6/http'
import { Rate } from 'k6/metrics'
import type { Options } from 'k6/options'
import { atMost, type Figure, reported } from './lib/figure.ts'
import { arrivals, getOrders, registerUsers, seconds, setting, type User, warmUp } from './lib/gateway.ts'
import { apart, countIterations, dropped, handOver, read, STATISTICS, type Summary, times } from './lib/summary.ts'

const MAXIMUM = setting('RATE', 1000)
const CALM_RATE = Math.round(0.3 * MAXIMUM)
const SPIKE_RATE = 3 * MAXIMUM
/** Most requests that wait at one time in the spike; k6 does not send more. */
const SPIKE_CLIENTS = 500
const SPIKE = __ENV.DURATION ?? '12s'
const CALM_SECONDS = 15
const AFTER_SECONDS = 25
const RECOVERY_SECONDS = 5
/** Bound for the p95 of a second after the spike, from the p95 before it: twice that, or 10 ms more, which a scheduler may add. */
const recoveredBelow = (calmMs: number) => Math.max(2 * calmMs, calmMs + 10)

const spikeAt = CALM_SECONDS
const afterAt = CALM_SECONDS + seconds(SPIKE)

export const options: Options = {
  scenarios: {
    calm: { ...arrivals({ rate: CALM_RATE, duration: `${CALM_SECONDS}s` }), exec: 'ask' },
    spike: { ...arrivals({ rate: SPIKE_RATE, duration: SPIKE, clients: SPIKE_CLIENTS }), startTime: `${spikeAt}s`, exec: 'ask' },
    after: { ...arrivals({ rate: CALM_RATE, duration: `${AFTER_SECONDS}s` }), startTime: `${afterAt}s`, exec: 'askBySecond' },
  },
  thresholds: {
    checks: ['rate==1'],
    ...apart('http_req_duration', 'calm', 'spike', 'after'),
    ...Object.fromEntries(Array.from({ length: AFTER_SECONDS }, (_, second) => [durationIn(second), []])),
    ...apart('turned_away', 'calm', 'spike', 'after'),
    ...apart('http_reqs', 'spike'),
    ...countIterations('calm', 'spike'),
  },
  summaryTrendStats: STATISTICS,
}

const turnedAway = new Rate('turned_away')

export function setup(): User[] {
  const users = registerUsers(10)
  warmUp(users)
  return users
}

export const ask = (users: User[]): void => askWith(users, {})
export const askBySecond = (users: User[]): void =>
  askWith(users, { second: String(Math.floor((Date.now() - exec.scenario.startTime) / 1000)) })

function askWith(users: User[], tags: Record<string, string>): void {
  const response = getOrders(users[exec.scenario.iterationInTest % users.length]!, tags)
  turnedAway.add(response.status === 503)
  check(response, { 'answers 200, or 503 overloaded with Retry-After': isServedOrTurnedAway })
}

function isServedOrTurnedAway(response: RefinedResponse<'text'>): boolean {
  const { status, headers } = response
  return status === 200 || (status === 503 && response.json('code') === 'overloaded' && Number(headers['Retry-After']) > 0)
}

function durationIn(second: number): string {
  return `http_req_duration{scenario:after,second:${second}}`
}

/** The first of three seconds in a row that keep the bound; NaN if there are none. */
function recovery(summary: Summary): Figure {
  const bound = recoveredBelow(read(summary, 'http_req_duration{scenario:calm}', 'p(95)'))
  const isRecovered = (second: number) => read(summary, durationIn(second), 'p(95)') <= bound
  const found = Array.from({ length: AFTER_SECONDS - 2 }, (_, n) => n).find((n) => [n, n + 1, n + 2].every(isRecovered))
  return atMost(`until the p95 of a second is again at most ${Number(bound.toFixed(1))} ms`, found ?? Number.NaN, RECOVERY_SECONDS, ' s')
}

export const handleSummary = handOver((summary) => [
  ...['calm', 'spike', 'after'].map((scenario) => times(summary, scenario, `http_req_duration{scenario:${scenario}}`)),
  reported(`offered in the spike, after a low load of ${CALM_RATE}/s`, SPIKE_RATE, '/s'),
  reported(`sent in the spike by ${SPIKE_CLIENTS} clients`, read(summary, 'http_reqs{scenario:spike}', 'count') / seconds(SPIKE), '/s'),
  reported('refused in the spike with 503 overloaded', read(summary, 'turned_away{scenario:spike}', 'rate') * 100, ' %'),
  recovery(summary),
  dropped(summary, 'calm'),
])
