/** The ordinary request, at 70 % of the maximum of the machine. */
import { check } from 'k6'
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { reported } from './lib/figure.ts'
import {
  arrivals,
  CPU_PER_REQUEST,
  getOrders,
  readUsage,
  registerUsers,
  reportUsage,
  setting,
  type Usage,
  type User,
  warmUp,
} from './lib/gateway.ts'
import { countIterations, dropped, handOver, read, STATISTICS, times } from './lib/summary.ts'

export const options: Options = {
  scenarios: { hot_path: arrivals({ rate: setting('RATE', 500), duration: __ENV.DURATION ?? '2m' }) },
  // only of the scenario: registrations of setup and warm-up do not count
  thresholds: {
    'checks{scenario:hot_path}': ['rate==1'],
    'http_req_failed{scenario:hot_path}': ['rate==0'],
    'http_req_duration{scenario:hot_path}': ['p(99)<100'],
    ...countIterations('hot_path'),
  },
  discardResponseBodies: true,
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

export default function hotPath({ users }: Start): void {
  const response = getOrders(users[exec.scenario.iterationInTest % users.length]!)
  check(response, { 'answers 200': ({ status }) => status === 200 })
}

export const teardown = ({ before }: Start): void => reportUsage(before)

export const handleSummary = handOver((summary) => [
  times(summary, 'requests', 'http_req_duration{scenario:hot_path}'),
  reported('CPU of the gateway per request', read(summary, CPU_PER_REQUEST, 'value'), ' µs'),
  dropped(summary, 'hot_path'),
])
