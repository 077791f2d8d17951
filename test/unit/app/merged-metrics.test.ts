import { expect, it } from 'vitest'
import { createMerger } from '../../../src/app/merged-metrics.ts'
import { createMetrics, type Metrics } from '../../../src/platform/telemetry/metrics.ts'
import { until } from '../../support/processes.ts'

const requests = (metrics: Metrics, count: number) => {
  metrics.requests.bind({ method: 'GET', route: 'it', status: '200' }).count = count
  metrics.requestSeconds.bind({ route: 'it', method: 'GET' }).observe(0.02)
  return metrics.registry.getMetricsAsJSON()
}
const line = (text: string, series: string) =>
  Number(
    text
      .split('\n')
      .find((l) => l.startsWith(`${series} `) || l.startsWith(`${series}{`))
      ?.split(' ')
      .at(-1),
  )

it('counts are added up, states are those of the worst', async () => {
  const merged = createMerger(createMetrics('supervisor'))
  const [one, other] = [createMetrics('one'), createMetrics('other')]
  for (const [metrics, isUp, lag, inFlight] of [
    [one, 1, 2, 3],
    [other, 0, 5, 4],
  ] as const) {
    metrics.dbUp.collectFrom(() => isUp)
    metrics.revocationLag.collectFrom(() => lag)
    metrics.inFlight.collectFrom(() => inFlight)
  }
  merged.hear(1, await requests(one, 100))
  merged.hear(2, await requests(other, 11))
  const text = await merged.text('text')
  expect(line(text, 'portcullis_http_requests_total')).toBe(111)
  expect(line(text, 'portcullis_http_request_duration_seconds_count')).toBe(2)
  expect(line(text, 'portcullis_db_up')).toBe(0)
  expect(line(text, 'portcullis_revocation_lag_seconds')).toBe(5)
  expect(line(text, 'portcullis_http_requests_in_flight')).toBe(7)
})

it('counters of ended workers stay, once; their gauges go', async () => {
  const merged = createMerger(createMetrics('supervisor'))
  const dead = createMetrics('dead')
  dead.inFlight.collectFrom(() => 7)
  merged.hear(1, await requests(dead, 100))
  merged.retire(1)
  merged.retire(2) // never heard of
  merged.hear(3, await requests(createMetrics('successor'), 1))
  for (let scrape = 0; scrape < 2; scrape++) {
    const text = await merged.text('text')
    expect(line(text, 'portcullis_http_requests_total')).toBe(101)
    expect(line(text, 'portcullis_http_requests_in_flight')).toBe(0)
  }
  merged.retire(3)
  expect(line(await merged.text('text'), 'portcullis_http_requests_total')).toBe(101)
})

it('metrics of the supervisor’s jobs are shown, although workers do not have them', async () => {
  const supervisor = createMetrics('supervisor')
  const ofJobs = {
    portcullis_outbox_waiting: supervisor.outboxWaiting,
    portcullis_audit_unsealed_rows: supervisor.auditUnsealed,
    portcullis_audit_last_sealed_timestamp_seconds: supervisor.auditLastSealed,
    portcullis_refresh_tokens_rows: supervisor.refreshTokenRows,
    portcullis_cleanup_last_success_timestamp_seconds: supervisor.cleanupLastSuccess,
  }
  for (const gauge of Object.values(ofJobs)) gauge.set(42)
  const merged = createMerger(supervisor)
  merged.hear(1, await requests(createMetrics('worker'), 1))
  const text = await merged.text('text')
  expect(Object.keys(ofJobs).map((name) => [name, line(text, name)])).toEqual(Object.keys(ofJobs).map((name) => [name, 42]))
})

it('each bucket has the newest exemplar of all processes, also of a process that has ended', async () => {
  const merged = createMerger(createMetrics('supervisor'))
  const observed = (digit: string, seconds: number) => {
    const metrics = createMetrics(digit)
    metrics.requestSeconds.bind({ route: 'it', method: 'GET' }).observe(seconds, { traceId: digit.repeat(32), spanId: digit.repeat(16) })
    return metrics.registry.getMetricsAsJSON()
  }
  const [ended, early] = [await observed('a', 7), await observed('b', 0.02)]
  const madeAt = Date.now()
  await until(() => Date.now() > madeAt, 'the next millisecond')
  const late = await observed('c', 0.02)
  merged.hear(1, ended)
  merged.retire(1)
  merged.hear(2, late)
  merged.hear(3, early)
  const traces = async () =>
    [...(await merged.text('openMetrics')).matchAll(/_duration_seconds_bucket\{le="([^"]+)",.*\} (\d) # \{trace_id="(.)/g)].map((m) =>
      m.slice(1),
    )
  expect(await traces()).toEqual([
    ['0.025', '2', 'c'],
    ['10', '3', 'a'],
  ])
  expect(await merged.text('text')).not.toContain('trace_id')
})
