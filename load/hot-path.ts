/** What nearly every request is: a valid token, an authenticated route, a small answer. */
import { check } from 'k6'
import exec from 'k6/execution'
import http from 'k6/http'
import type { Options } from 'k6/options'
import { arrivals, GATEWAY, readUsage, registerUsers, reportUsage, type Usage, type User } from './lib/gateway.ts'

export const options: Options = {
  scenarios: { hot_path: arrivals({ rate: 500, duration: '20s', vus: 100 }) },
  // of the scenario alone: setup's registrations and warm-up are none of it
  thresholds: {
    'checks{scenario:hot_path}': ['rate==1'],
    'http_req_failed{scenario:hot_path}': ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{scenario:hot_path}': ['p(95)<25', 'p(99)<100'],
  },
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
}

const WARM_UP_REQUESTS = 2000

interface Start {
  users: User[]
  before: Usage
}

export function setup(): Start {
  const users = registerUsers(10)
  for (let i = 0; i < WARM_UP_REQUESTS; i++) getOrders(users[i % users.length]!)
  return { users, before: readUsage() }
}

export default function hotPath({ users }: Start): void {
  const response = getOrders(users[exec.scenario.iterationInTest % users.length]!)
  check(response, { 'answers 200': ({ status }) => status === 200 })
}

export const teardown = ({ before }: Start): void => reportUsage(before)

const getOrders = ({ token }: User) => http.get(`${GATEWAY}/load/orders`, { headers: { authorization: `Bearer ${token}` } })
