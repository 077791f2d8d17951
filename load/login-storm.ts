/** Far more logins than hashes can be computed: does proxied traffic slow down, and do the admitted logins still succeed? */
import { check } from 'k6'
import exec from 'k6/execution'
import http, { type RefinedResponse } from 'k6/http'
import { Counter } from 'k6/metrics'
import type { Options } from 'k6/options'
import { atLeast, atMost, reported } from './lib/figure.ts'
import { arrivals, GATEWAY, getOrders, PASSWORD, registerUsers, seconds, setting, type User, warmUp } from './lib/gateway.ts'
import { apart, countIterations, dropped, handOver, read, STATISTICS, times } from './lib/summary.ts'

/** Logins of one account wait for its row lock, so there are about as many accounts as slots for hashes. */
const USERS = 60
/** Clients that wait for their response: enough to keep hashing busy, and none is refused. */
const PATIENT_CLIENTS = 6
const RATE = setting('RATE', 200)
const LOGINS = setting('LOGINS', 200)
const PHASE = __ENV.DURATION ?? '30s'
const PATIENT_SECONDS = 15
const PAUSE_SECONDS = 3

const patientAt = seconds(PHASE)
const stormAt = patientAt + PATIENT_SECONDS + PAUSE_SECONDS

export const options: Options = {
  scenarios: {
    alone: { ...arrivals({ rate: RATE, duration: PHASE }), exec: 'proxied' },
    beside_patient: { ...arrivals({ rate: RATE, duration: `${PATIENT_SECONDS}s` }), startTime: `${patientAt}s`, exec: 'proxied' },
    patient: { executor: 'constant-vus', vus: PATIENT_CLIENTS, duration: `${PATIENT_SECONDS}s`, startTime: `${patientAt}s`, exec: 'login' },
    beside_storm: { ...arrivals({ rate: RATE, duration: PHASE }), startTime: `${stormAt}s`, exec: 'proxied' },
    // enough waiting clients: the queue for hashes is 64, and a request waits a second or two in it
    storm: { ...arrivals({ rate: LOGINS, duration: PHASE, clients: 300 }), startTime: `${stormAt}s`, exec: 'login' },
  },
  thresholds: {
    'checks{kind:proxied}': ['rate==1'],
    'checks{kind:login}': ['rate==1'],
    ...apart('http_req_duration', 'alone', 'beside_patient', 'beside_storm'),
    ...apart('logins_taken', 'patient', 'storm'),
    ...apart('logins_refused', 'patient', 'storm'),
    ...countIterations('alone', 'beside_storm', 'storm'),
  },
  summaryTrendStats: STATISTICS,
}

const taken = new Counter('logins_taken')
const refused = new Counter('logins_refused')

export function setup(): User[] {
  const users = registerUsers(USERS)
  warmUp(users)
  return users
}

export function proxied(users: User[]): void {
  const response = getOrders(users[exec.scenario.iterationInTest % users.length]!)
  check(response, { 'a proxied request answers 200': ({ status }) => status === 200 }, { kind: 'proxied' })
}

export function login(users: User[]): void {
  const { username } = users[exec.scenario.iterationInTest % users.length]!
  const response = http.post(`${GATEWAY}/auth/login`, JSON.stringify({ login: username, password: PASSWORD }), {
    headers: { 'content-type': 'application/json' },
  })
  const isTaken = response.status === 200
  ;(isTaken ? taken : refused).add(1)
  check(response, { 'a login answers 200, or is turned away in order': () => isTaken || isTurnedAway(response) }, { kind: 'login' })
}

/** The queue for hashes is full, or the account has reached its limit; and Retry-After is set. */
function isTurnedAway(response: RefinedResponse<'text'>): boolean {
  const { status, headers } = response
  const isRight = { 503: 'overloaded', 429: 'rate_limited' }[status] === response.json('code')
  return isRight && Number(headers['Retry-After']) > 0
}

export const handleSummary = handOver((summary) => {
  const p99 = (scenario: string) => read(summary, `http_req_duration{scenario:${scenario}}`, 'p(99)')
  const count = (metric: string, scenario: string) => read(summary, `${metric}{scenario:${scenario}}`, 'count') || 0
  const kept = count('logins_taken', 'patient') / PATIENT_SECONDS
  return [
    times(summary, `proxied at ${RATE}/s, alone`, 'http_req_duration{scenario:alone}'),
    times(summary, 'proxied, beside patient logins', 'http_req_duration{scenario:beside_patient}'),
    times(summary, `proxied, beside ${LOGINS} logins/s`, 'http_req_duration{scenario:beside_storm}'),
    atMost('proxied p99 beside the storm ÷ alone', p99('beside_storm') / p99('alone'), 2),
    reported('logins that hashing can keep, by clients that wait', kept, '/s'),
    atLeast('logins that succeed in the storm', count('logins_taken', 'storm') / seconds(PHASE), 0.7 * kept, '/s'),
    // without refused logins it was no storm
    atLeast('logins that are refused in the storm', count('logins_refused', 'storm') / seconds(PHASE), 1, '/s'),
    reported('logins that are sent in the storm', read(summary, 'iterations{scenario:storm}', 'count') / seconds(PHASE), '/s'),
    ...['alone', 'beside_storm'].map((scenario) => dropped(summary, scenario)),
  ]
})
