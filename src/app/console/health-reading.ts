/** Reads the few metrics of one process that the health page shows. It leaves out the metrics of Node, which cost more to read. */
import type { Metrics, MetricValues } from '../../platform/telemetry/metrics.ts'

/** The first digit of a status. 101 counts as 2: the answer to an upgrade is a success. */
export const STATUS_CLASSES = ['2xx', '3xx', '4xx', '5xx'] as const
export type StatusClass = (typeof STATUS_CLASSES)[number]

/** Plain data, so that workers can send it to their supervisor. */
export interface HealthReading {
  /** These grow as long as the process runs. */
  requests: Record<StatusClass, number>
  errors: Record<string, number>
  logins: Record<string, number>
  limits: { allowed: number; limited: number }
  /** `bounds` in seconds, ascending. `counts` are the requests that took no longer; `total` are all requests. */
  latency: { bounds: number[]; counts: number[]; total: number }
  /** These are the values of this moment. */
  isDatabaseUp: boolean
  isRedisUp: boolean
  isBreakerOpen: boolean
  revocationLagSeconds: number
  pool: { busy: number; idle: number; waiting: number }
  inFlight: number
  upstreams: Record<string, UpstreamHealth>
}

export interface UpstreamHealth {
  breaker: 'closed' | 'half-open' | 'open'
  /** Null: the upstream has no health checks. */
  isHealthy: boolean | null
}

/** As `upstream_breaker_state` counts them. */
export const BREAKERS = ['closed', 'half-open', 'open'] as const

type Values = MetricValues['values']

export async function readHealth({ registry }: Pick<Metrics, 'registry'>): Promise<HealthReading> {
  const valuesOf = async (name: string): Promise<Values> =>
    ((await registry.getSingleMetric(`portcullis_${name}`)!.get()) as unknown as MetricValues).values
  const gaugeOf = async (name: string) => (await valuesOf(name))[0]?.value ?? 0

  const pool = countedBy(await valuesOf('db_pool_connections'), 'state')
  const limits = countedBy(await valuesOf('limit_decisions_total'), 'decision')
  return {
    requests: byClass(await valuesOf('http_requests_total')),
    errors: countedBy(await valuesOf('errors_total'), 'code'),
    logins: countedBy(await valuesOf('logins_total'), 'outcome'),
    limits: { allowed: limits.allowed ?? 0, limited: limits.limited ?? 0 },
    latency: latencyOf(await valuesOf('http_request_duration_seconds')),
    isDatabaseUp: (await gaugeOf('db_up')) === 1,
    isRedisUp: (await gaugeOf('redis_up')) === 1,
    isBreakerOpen: (await gaugeOf('redis_breaker_open')) === 1,
    revocationLagSeconds: await gaugeOf('revocation_lag_seconds'),
    pool: { busy: pool.busy ?? 0, idle: pool.idle ?? 0, waiting: pool.waiting ?? 0 },
    inFlight: await gaugeOf('http_requests_in_flight'),
    upstreams: upstreamsOf(await valuesOf('upstream_breaker_state'), await valuesOf('upstream_healthy')),
  }
}

/** The sum of the values of each label, over all other labels. */
function countedBy(values: Values, label: string): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const { labels, value } of values) {
    const key = String(labels[label])
    sums[key] = (sums[key] ?? 0) + value
  }
  return sums
}

function byClass(values: Values): Record<StatusClass, number> {
  const sums = { '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 }
  for (const { labels, value } of values) sums[classOf(String(labels.status))] += value
  return sums
}

const classOf = (status: string): StatusClass => STATUS_CLASSES.find((name) => name[0] === status[0]) ?? '2xx'

/** Adds up the histograms of all routes and methods. */
function latencyOf(values: Values): HealthReading['latency'] {
  const counts = new Map<number, number>()
  let total = 0
  for (const { labels, value } of values) {
    const { le } = labels
    if (le === undefined) continue
    if (le === '+Inf') total += value
    else counts.set(Number(le), (counts.get(Number(le)) ?? 0) + value)
  }
  const bounds = [...counts.keys()].sort((a, b) => a - b)
  return { bounds, counts: bounds.map((bound) => counts.get(bound)!), total }
}

function upstreamsOf(breakers: Values, checks: Values): Record<string, UpstreamHealth> {
  const healthy = new Map(checks.map(({ labels, value }) => [labels.upstream, value === 1]))
  return Object.fromEntries(
    breakers.map(({ labels: { upstream }, value }) => [
      upstream,
      { breaker: BREAKERS[value] ?? 'open', isHealthy: healthy.get(upstream) ?? null },
    ]),
  )
}
