/** Logins at a rate of their own: each costs an Argon2 hash, so they are hundreds of times dearer than a proxied request. */
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { arrivals, call, PASSWORD, readUsage, registerUsers, reportUsage, type Usage, type User } from './lib/gateway.ts'

export const options: Options = {
  scenarios: { login: arrivals({ rate: 5, duration: '15s', vus: 20 }) },
  // of the scenario alone: setup's registrations are none of it
  thresholds: {
    'checks{scenario:login}': ['rate==1'],
    'http_req_failed{scenario:login}': ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{scenario:login}': ['p(95)<300', 'p(99)<600'],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
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
