/** Users send far more than a route's limit. Exactly the limit must pass, and users below their limits must not slow down. */
import { check, sleep } from 'k6'
import exec from 'k6/execution'
import http, { type RefinedResponse } from 'k6/http'
import { Trend } from 'k6/metrics'
import type { Options } from 'k6/options'
import { atLeast, atMost, reported } from './lib/figure.ts'
import { arrivals, GATEWAY, registerUsers, seconds, setting, type User } from './lib/gateway.ts'
import { apart, countIterations, dropped, handOver, read, STATISTICS, times } from './lib/summary.ts'

/**
 * Users that flood. The last of them waits until its first window ends: a limit that restarts its window at once would let through twice
 * the limit.
 */
const FLOODING = 4
const LIMIT = setting('LIMIT', 100)
const WINDOW_SECONDS = setting('WINDOW_SECONDS', 10)
/** Requests a second of all flooding users together. */
const RATE = setting('RATE', FLOODING * Math.max(200, (3 * LIMIT) / WINDOW_SECONDS))
const DURATION_SECONDS = __ENV.DURATION ? seconds(__ENV.DURATION) : Math.ceil(2.5 * WINDOW_SECONDS)

const CALM = 20
/** Half of the limit, but at most a rate that is enough for statistics. */
const CALM_RATE = CALM * Math.min(5, (0.5 * LIMIT) / WINDOW_SECONDS)
const ALONE_SECONDS = 15
const TICK_MS = 50
const A_TICK = Math.ceil((RATE / FLOODING) * (TICK_MS / 1000))

export const options: Options = {
  scenarios: {
    calm_alone: { ...arrivals({ rate: CALM_RATE, duration: `${ALONE_SECONDS}s` }), exec: 'calm' },
    calm_beside: { ...arrivals({ rate: CALM_RATE, duration: `${DURATION_SECONDS}s` }), startTime: `${ALONE_SECONDS}s`, exec: 'calm' },
    // one k6 client for each user, with many requests at a time: it alone counts all admitted requests of its user
    flood: {
      executor: 'per-vu-iterations',
      vus: FLOODING,
      iterations: 1,
      startTime: `${ALONE_SECONDS}s`,
      maxDuration: `${DURATION_SECONDS + 30}s`,
      exec: 'flood',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    'http_req_duration{scenario:calm_beside}': ['p(99)<100'],
    ...apart('http_req_duration', 'calm_alone', 'flood'),
    ...apart('http_reqs', 'flood'),
    'admitted_most_in_a_window{kind:steady}': [],
    'admitted_most_in_a_window{kind:late}': [],
    'admitted_in_all{kind:steady}': [],
    ...countIterations('calm_alone', 'calm_beside'),
  },
  batch: A_TICK,
  batchPerHost: A_TICK,
  summaryTrendStats: ['min', ...STATISTICS],
}

/** One value for each user. */
const mostInWindow = new Trend('admitted_most_in_a_window')
const admittedInAll = new Trend('admitted_in_all')

interface Start {
  flooding: User[]
  calm: User[]
}

export function setup(): Start {
  const users = registerUsers(FLOODING + CALM)
  return { flooding: users.slice(0, FLOODING), calm: users.slice(FLOODING) }
}

const asking = ({ token }: User) => ({ headers: { authorization: `Bearer ${token}` } })
const LIMITED = `${GATEWAY}/load/limited`

export function calm({ calm: users }: Start): void {
  const response = http.get(LIMITED, asking(users[exec.scenario.iterationInTest % users.length]!))
  check(response, { 'a caller below its limit gets 200': ({ status }) => status === 200 })
}

/** Requests that were admitted between two moments. */
interface Admitted {
  from: number
  to: number
  count: number
}

export function flood({ flooding }: Start): void {
  const user = flooding[exec.scenario.iterationInTest % FLOODING]!
  const isLate = exec.scenario.iterationInTest % FLOODING === FLOODING - 1
  const ticks: Admitted[] = []
  const end = Date.now() + DURATION_SECONDS * 1000
  if (isLate) {
    ticks.push(sendTogether(user, 1))
    // early enough before the end of the window to use it up
    sleep(Math.max(0, WINDOW_SECONDS - 0.5 - LIMIT / (RATE / FLOODING)))
  }
  while (Date.now() < end) {
    const tick = sendTogether(user, A_TICK)
    ticks.push(tick)
    sleep(Math.max(0, tick.from + TICK_MS - Date.now()) / 1000)
  }
  const kind = isLate ? 'late' : 'steady'
  mostInWindow.add(mostWithin(ticks, WINDOW_SECONDS * 1000), { kind })
  admittedInAll.add(
    ticks.reduce((total, { count }) => total + count, 0),
    { kind },
  )
}

function sendTogether(user: User, requests: number): Admitted {
  const from = Date.now()
  const responses = http.batch(Array.from({ length: requests }, () => ['GET', LIMITED, null, asking(user)]))
  const to = Date.now()
  for (const response of responses) check(response, { 'a flooding caller gets 200 or a whole 429': isAdmittedOrRefused })
  return { from, to, count: responses.filter(({ status }) => status === 200).length }
}

function isAdmittedOrRefused(response: RefinedResponse<'text'>): boolean {
  const { status, headers } = response
  // k6 spells header names in this way
  const policy = headers['Ratelimit-Policy']
  const isPolicyRight = policy === `"limited";q=${LIMIT};w=${WINDOW_SECONDS}`
  if (status === 200) return isPolicyRight
  const retryAfter = Number(headers['Retry-After'])
  const isTimeRight = Number.isInteger(retryAfter) && retryAfter >= 1 && retryAfter <= Math.ceil(WINDOW_SECONDS * 1.1)
  return (
    status === 429 &&
    response.json('code') === 'rate_limited' &&
    isPolicyRight &&
    isTimeRight &&
    /^"limited";r=0;t=\d+$/.test(headers.Ratelimit ?? '')
  )
}

/** Counts only requests that surely lie within one window: they began after its start and were answered before its end. */
function mostWithin(ticks: Admitted[], windowMs: number): number {
  const within = (start: Admitted) => ticks.filter(({ from, to }) => from >= start.from && to < start.from + windowMs)
  return Math.max(...ticks.map((start) => within(start).reduce((total, { count }) => total + count, 0)))
}

export const handleSummary = handOver((summary) => {
  const p99 = (scenario: string) => read(summary, `http_req_duration{scenario:${scenario}}`, 'p(99)')
  const windows = Math.floor(DURATION_SECONDS / WINDOW_SECONDS)
  return [
    reported(
      `sent above a limit of ${LIMIT} per ${WINDOW_SECONDS} s, by each of ${FLOODING}`,
      read(summary, 'http_reqs{scenario:flood}', 'count') / DURATION_SECONDS / FLOODING,
      '/s',
    ),
    atMost(
      `admitted in any ${WINDOW_SECONDS} s, the most of a user`,
      read(summary, 'admitted_most_in_a_window{kind:steady}', 'max'),
      LIMIT,
    ),
    atMost(
      `admitted in any ${WINDOW_SECONDS} s, of the user that waits for the end of a window`,
      read(summary, 'admitted_most_in_a_window{kind:late}', 'max'),
      LIMIT,
    ),
    // a limit that is counted in sub-windows may leave a part unused
    atLeast(
      `admitted in ${DURATION_SECONDS} s, the least of a user`,
      read(summary, 'admitted_in_all{kind:steady}', 'min'),
      0.9 * windows * LIMIT,
    ),
    times(summary, `users below the limit at ${rate(CALM_RATE)}, alone`, 'http_req_duration{scenario:calm_alone}'),
    times(summary, 'users below the limit, beside the flood', 'http_req_duration{scenario:calm_beside}'),
    reported('their p99 beside the flood ÷ alone', p99('calm_beside') / p99('calm_alone')),
    ...['calm_alone', 'calm_beside'].map((scenario) => dropped(summary, scenario)),
  ]
})

const rate = (perSecond: number) => `${perSecond}/s`
