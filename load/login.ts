/** Logins at a rate of their own: each costs an Argon2 hash, so they are hundreds of times dearer than a proxied request. */
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { told } from './lib/figure.ts'
import {
  arrivals,
  CPU_PER_REQUEST,
  call,
  PASSWORD,
  readUsage,
  registerUsers,
  reportUsage,
  setting,
  type Usage,
  type User,
} from './lib/gateway.ts'
import { handOver, read, STATISTICS, times } from './lib/summary.ts'

export const options: Options = {
  scenarios: { login: arrivals({ rate: setting('RATE', 5), duration: __ENV.DURATION ?? '15s', clients: 20 }) },
  // of the scenario alone: setup's registrations are none of it
  thresholds: {
    'checks{scenario:login}': ['rate==1'],
    'http_req_failed{scenario:login}': ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{scenario:login}': ['p(95)<300', 'p(99)<600'],
  },
  summaryTrendStats: STATISTICS,
}

interface Start {
  users: User[]
  before: Usage
}

// logins of one account wait for each other's row lock: a few users, as in life
export const setup = (): Start => ({ users: registerUsers(10), before: readUsage() })

export default function login({ users }: Start): void {
  const { username } = users[exec.scenario.iterationInTest % users.length]!
  call('POST', '/auth/login', { status: 200, body: { login: username, password: PASSWORD } })
}

export const teardown = ({ before }: Start): void => reportUsage(before)

export const handleSummary = handOver((summary) => [
  times(summary, 'logins', 'http_req_duration{scenario:login}'),
  told('CPU of the gateway per request', read(summary, CPU_PER_REQUEST, 'value'), ' µs'),
])
