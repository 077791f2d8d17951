/** Logins at a rate of their own: each costs an Argon2 hash, so a login costs hundreds of times as much as a proxied request. */
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { reported } from './lib/figure.ts'
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
  // only of the scenario: registrations of setup do not count
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

// logins of one account wait for its row lock, so a few users share the logins
export const setup = (): Start => ({ users: registerUsers(10), before: readUsage() })

export default function login({ users }: Start): void {
  const { username } = users[exec.scenario.iterationInTest % users.length]!
  call('POST', '/auth/login', { status: 200, body: { login: username, password: PASSWORD } })
}

export const teardown = ({ before }: Start): void => reportUsage(before)

export const handleSummary = handOver((summary) => [
  times(summary, 'logins', 'http_req_duration{scenario:login}'),
  reported('CPU of the gateway per request', read(summary, CPU_PER_REQUEST, 'value'), ' µs'),
])
