/** One request of each kind, a few times: do they work, and in reasonable time? */
import { check } from 'k6'
import exec from 'k6/execution'
import type { Options } from 'k6/options'
import { arrivals, call, PASSWORD, registerUsers, setting, type User } from './lib/gateway.ts'
import { handOver, STATISTICS } from './lib/summary.ts'

export const options: Options = {
  scenarios: { smoke: arrivals({ rate: setting('RATE', 4), duration: __ENV.DURATION ?? '4s', clients: 20 }) },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{kind:proxied}': ['p(95)<100', 'p(99)<250'],
    'http_req_duration{kind:account}': ['p(95)<500', 'p(99)<1000'],
  },
  summaryTrendStats: STATISTICS,
}

interface Pair {
  access_token: string
  refresh_token: string
}

export const setup = (): User[] => registerUsers(4)

export default function day(users: User[]): void {
  const user = users[exec.scenario.iterationInTest % users.length]!

  call('GET', '/load/public', { status: 200 })
  call('GET', '/load/orders', { status: 401, code: 'token_missing' })
  call('GET', '/load/orders', { status: 401, code: 'token_invalid', token: `${user.token}x` })
  call('GET', '/nowhere', { status: 404, code: 'route_not_found' })
  call('POST', '/auth/login', { status: 401, code: 'invalid_credentials', body: { login: `nobody-${user.username}`, password: PASSWORD } })

  const first = call<Pair>('POST', '/auth/login', { status: 200, body: { login: user.username, password: PASSWORD } })
  const seen = call<{ user: string }>('GET', '/load/orders', { status: 200, token: first.access_token })
  check(seen, { 'the upstream receives the user id': ({ user: id }) => id === user.id })
  call('GET', '/load/admin', { status: 403, code: 'forbidden', token: first.access_token })

  const second = call<Pair>('POST', '/auth/refresh', { status: 200, body: { refresh_token: first.refresh_token } })
  call('GET', '/auth/me', { status: 200, token: second.access_token })
  call('POST', '/auth/logout', { status: 204, token: second.access_token })
  call('GET', '/load/orders', { status: 401, code: 'token_revoked', token: second.access_token })
  call('POST', '/auth/refresh', { status: 401, code: 'refresh_invalid', body: { refresh_token: second.refresh_token } })
}

export const handleSummary = handOver()
