/** 70 % of the maximum for a long time, with logins and unknown tokens beside it: does memory grow? `load/run.ts` samples the memory. */
import { check } from 'k6'
import exec from 'k6/execution'
import http from 'k6/http'
import type { Options } from 'k6/options'
import { reported } from './lib/figure.ts'
import {
  arrivals,
  CPU_PER_REQUEST,
  call,
  GATEWAY,
  getOrders,
  PASSWORD,
  readUsage,
  registerUsers,
  reportUsage,
  setting,
  type Usage,
  type User,
  warmUp,
} from './lib/gateway.ts'
import { countIterations, dropped, handOver, read, STATISTICS, times } from './lib/summary.ts'

const DURATION = __ENV.DURATION ?? '10m'

export const options: Options = {
  scenarios: {
    hot_path: { ...arrivals({ rate: setting('RATE', 500), duration: DURATION }), exec: 'hotPath' },
    // each request has a new name and token: state that is kept for each of them would add up
    strangers: { ...arrivals({ rate: 20, duration: DURATION }), exec: 'stranger' },
    sessions: { ...arrivals({ rate: 1, duration: DURATION, clients: 10 }), exec: 'session' },
  },
  thresholds: {
    checks: ['rate==1'],
    'http_req_failed{scenario:hot_path}': ['rate==0'],
    'http_req_duration{scenario:hot_path}': ['p(99)<100'],
    ...countIterations('hot_path', 'sessions'),
  },
  summaryTrendStats: STATISTICS,
}

interface Start {
  users: User[]
  before: Usage
}

export function setup(): Start {
  const users = registerUsers(10)
  warmUp(users)
  return { users, before: readUsage() }
}

export function hotPath({ users }: Start): void {
  const response = getOrders(users[exec.scenario.iterationInTest % users.length]!)
  check(response, { 'a valid token is answered 200': ({ status }) => status === 200 })
}

export function stranger(): void {
  const n = exec.scenario.iterationInTest
  const response = http.get(`${GATEWAY}/load/orders?n=${n}`, {
    headers: { authorization: `Bearer nobody.${n}.knows` },
    tags: { name: 'a stranger' },
  })
  check(response, { 'an unknown token is answered 401': ({ status }) => status === 401 })
}

export function session({ users }: Start): void {
  const { username } = users[exec.scenario.iterationInTest % users.length]!
  const { access_token: token, refresh_token } = call<Pair>('POST', '/auth/login', {
    status: 200,
    body: { login: username, password: PASSWORD },
  })
  call('GET', '/load/orders', { status: 200, token })
  const second = call<Pair>('POST', '/auth/refresh', { status: 200, body: { refresh_token } })
  call('POST', '/auth/logout', { status: 204, token: second.access_token })
}

interface Pair {
  access_token: string
  refresh_token: string
}

export const teardown = ({ before }: Start): void => reportUsage(before)

export const handleSummary = handOver((summary) => [
  times(summary, 'requests', 'http_req_duration{scenario:hot_path}'),
  reported('CPU of the gateway per request', read(summary, CPU_PER_REQUEST, 'value'), ' µs'),
  ...['hot_path', 'sessions'].map((scenario) => dropped(summary, scenario)),
])
