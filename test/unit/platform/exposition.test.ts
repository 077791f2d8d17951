import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { CONTENT_TYPES, expose, formatFor } from '../../../src/platform/telemetry/exposition.ts'
import { fastHistogram } from '../../../src/platform/telemetry/fast-metrics.ts'
import { createMetrics } from '../../../src/platform/telemetry/metrics.ts'

const TRACE = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' }

it.each([
  [undefined, 'text'],
  ['*/*', 'text'],
  ['text/plain;version=0.0.4', 'text'],
  ['application/json', 'text'],
  ['application/openmetrics-text', 'openMetrics'],
  ['application/openmetrics-text; version=1.0.0; q=0.5, text/plain; q=0.9', 'text'],
  ['application/openmetrics-text;version=1.0.0;q=0', 'text'],
  ['application/openmetrics-text;version=9.9.9', 'text'],
  // Prometheus 2.42
  [
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
    'openMetrics',
  ],
  // Prometheus 3
  [
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1',
    'openMetrics',
  ],
] as const)('Accept: %s is answered with %s', (accept, format) => {
  expect(formatFor(accept)).toBe(format)
})

it('OpenMetrics names a counter without _total, escapes texts, and ends with EOF', async () => {
  const metrics = createMetrics('1 "beta"')
  metrics.requests.bind({ method: 'GET', route: 'a\\b\n"c"', status: '200' }).count = 3
  metrics.dbUp.collectFrom(() => Number.POSITIVE_INFINITY)
  const lines = (await expose(metrics.registry, 'openMetrics')).split('\n')
  expect(lines).toContain('# TYPE portcullis_http_requests counter')
  expect(lines).toContain(String.raw`portcullis_http_requests_total{method="GET",route="a\\b\n\"c\"",status="200"} 3`)
  expect(lines).toContain(`portcullis_build_info{version="1 \\"beta\\"",node="${process.version}"} 1`)
  expect(lines).toContain('portcullis_db_up +Inf')
  expect(lines.slice(-2)).toEqual(['# EOF', ''])
  expect(CONTENT_TYPES.openMetrics).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
})

it('a bucket shows the last trace that was kept, in OpenMetrics alone', async () => {
  const registry = new Registry()
  const seconds = fastHistogram(registry, { name: 'seconds', help: 'How long.', labelNames: ['route'] }, [0.1, 1]).bind({ route: 'x' })
  seconds.observe(0.05, { ...TRACE, traceId: 'f'.repeat(32) })
  const before = Date.now() / 1000
  seconds.observe(0.06, TRACE)
  // a trace that was not kept changes no exemplar
  seconds.observe(0.07, null)
  seconds.observe(0.5)
  const buckets = (await expose(registry, 'openMetrics')).split('\n').filter((line) => line.startsWith('seconds_bucket'))
  const [, value, timestamp] = /^seconds_bucket\{le="0.1",route="x"\} 3 # (.*) ([\d.]+)$/.exec(buckets[0]!)!
  expect(value).toBe(`{trace_id="${TRACE.traceId}",span_id="${TRACE.spanId}"} 0.06`)
  expect(Number(timestamp)).toBeGreaterThanOrEqual(before)
  expect(Number(timestamp)).toBeLessThanOrEqual(Date.now() / 1000)
  expect(buckets.slice(1)).toEqual(['seconds_bucket{le="1",route="x"} 4', 'seconds_bucket{le="+Inf",route="x"} 4'])
  expect(await expose(registry, 'text')).not.toContain('trace_id')
})
