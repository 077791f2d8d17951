/** Requests to the gateway that `load/run.ts` started. */
import { check } from 'k6'
import http from 'k6/http'
import { Gauge } from 'k6/metrics'
import type { Scenario } from 'k6/options'

export const GATEWAY = __ENV.GATEWAY_URL

/** One password for all users: Argon2 takes the same time for each, and the users exist only for the run. */
export const PASSWORD = 'correct horse battery'

export interface User {
  id: string
  username: string
  token: string
}

interface Call {
  /** The expected status. Any other counts as a failed request and a failed check. */
  status: number
  token?: string
  body?: object
  /** The expected `code` of a problem document. */
  code?: string
}

/** @returns the parsed response; null when it has no body */
export function call<T>(method: 'GET' | 'POST', path: string, { status, token, body, code }: Call) {
  const kind = path.startsWith('/auth/') ? 'account' : 'proxied'
  const response = http.request(method, GATEWAY + path, body ? JSON.stringify(body) : null, {
    headers: { ...(body && { 'content-type': 'application/json' }), ...(token && { authorization: `Bearer ${token}` }) },
    responseCallback: http.expectedStatuses(status),
    responseType: 'text',
    tags: { name: `${method} ${path}`, kind },
  })
  const answer = response.body ? response.json() : null
  const expected = `${method} ${path} answers ${status}${code ? ` ${code}` : ''}`
  check(response, { [expected]: () => response.status === status && (!code || (answer as { code?: string } | null)?.code === code) })
  return answer as T
}

/** Registers users whose names no earlier run on the same database has taken. Throws, which ends the run, when a registration fails. */
export function registerUsers(count: number): User[] {
  const run = Date.now().toString(36)
  return Array.from({ length: count }, (_, i) => {
    const username = `load-${run}-${i}`
    const body = { username, email: `${username}@example.com`, password: PASSWORD }
    const { user, access_token } = call<{ user: User; access_token: string }>('POST', '/auth/register', { status: 201, body })
    return { id: user.id, username, token: access_token }
  })
}

/** The ordinary request: a valid token, an authenticated route, a small response. */
export const getOrders = ({ token }: User, tags: Record<string, string> = {}) =>
  http.get(`${GATEWAY}/load/orders`, { headers: { authorization: `Bearer ${token}` }, tags })

/** Sends requests from one client, before anything is measured. */
export function warmUp(users: User[]): void {
  for (let i = 0; i < WARM_UP_REQUESTS; i++) getOrders(users[i % users.length]!)
}
const WARM_UP_REQUESTS = 2000

/** A number from `load/run.ts`: an option, or a measured value. */
export const setting = (name: string, ifNone: number): number => Number(__ENV[name] ?? ifNone)

export const seconds = (duration: string): number =>
  Number.parseInt(duration, 10) * { s: 1, m: 60, h: 3600 }[duration.at(-1) as 's' | 'm' | 'h']

interface Arrivals {
  rate: number
  duration: string
  /** Most clients that wait at one time. Default: the requests of an eighth of a second. */
  clients?: number
}

/**
 * Requests begin at a fixed rate, whatever the response times: a closed loop would send fewer requests to a slow gateway and hide the
 * waiting.
 */
export const arrivals = ({
  rate,
  duration,
  clients = Math.max(100, Math.ceil(rate / 8)),
}: Arrivals): Scenario & { executor: 'constant-arrival-rate' } => ({
  executor: 'constant-arrival-rate',
  rate: Math.round(rate),
  timeUnit: '1s',
  duration,
  // all from the start: k6 drops iterations while it creates clients
  preAllocatedVUs: clients,
})

export interface Usage {
  cpuSeconds: number
  requests: number
}

/** The CPU time of the gateway and its answered requests so far, from its own metrics. */
export function readUsage(): Usage {
  const lines = String(http.get(`${__ENV.ADMIN_URL}/metrics`, { responseType: 'text' }).body).split('\n')
  const isOf = (line: string, name: string) => line.startsWith(`${name} `) || line.startsWith(`${name}{`)
  const sum = (name: string) => lines.filter((line) => isOf(line, name)).reduce((total, line) => total + Number(line.split(' ').at(-1)), 0)
  return { cpuSeconds: sum('process_cpu_seconds_total'), requests: sum('portcullis_http_requests_total') }
}

export const CPU_PER_REQUEST = 'gateway_cpu_us_per_request'
const cpuPerRequest = new Gauge(CPU_PER_REQUEST)

/** Puts the gateway's CPU time per request since `before` into the summary, in microseconds. */
export function reportUsage(before: Usage): void {
  const after = readUsage()
  cpuPerRequest.add(((after.cpuSeconds - before.cpuSeconds) / (after.requests - before.requests)) * 1e6)
}
