/** A trace id leads from a slow bucket of a histogram to the trace, for traces that were kept. */
import { expect, inject, it } from 'vitest'
import { startGateway } from '../../support/gateway.ts'
import { startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { PROMETHEUS, promtool, startPrometheus } from '../../support/prometheus.ts'
import { describeWith } from '../../support/tools.ts'
import { startUpstream } from '../../support/upstream.ts'

const KEPT = '4bf92f3577b34da6a3ce929d0e0e4736'
const NOT_KEPT = '11111111111111111111111111111111'
const traceparent = (traceId: string, flags: string) => ({ headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-${flags}` } })
const TRUSTING = { trustedProxies: ['127.0.0.1/32'] }
const HISTOGRAMS = ['http_request_duration_seconds', 'gateway_overhead_seconds', 'upstream_duration_seconds']

async function tracesIn(prometheus: Awaited<ReturnType<typeof startPrometheus>>): Promise<string[]> {
  const found = await prometheus.queryExemplars('{__name__=~"portcullis_.*_bucket"}')
  return found.flatMap(({ seriesLabels, exemplars }) =>
    exemplars.map(({ labels }) => `${seriesLabels.__name__!.replace(/^portcullis_|_bucket$/g, '')} ${labels.trace_id}`),
  )
}
const expected = HISTOGRAMS.map((name) => `${name} ${KEPT}`).sort()

describeWith(PROMETHEUS, 'Exemplars', () => {
  it('Prometheus finds the trace of a request that was kept, and none of the others', async () => {
    const upstream = await startUpstream()
    const gateway = await startGateway({
      config: { server: TRUSTING },
      routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public' }],
    })
    const prometheus = await startPrometheus({ targets: [new URL(gateway.adminUrl).host] })
    try {
      await fetch(`${gateway.url}/it`, traceparent(KEPT, '01'))
      await fetch(`${gateway.url}/it`, traceparent(NOT_KEPT, '00'))
      const found = await until(async () => {
        const traces = await tracesIn(prometheus)
        return traces.length >= HISTOGRAMS.length && traces
      }, 'the exemplars')
      expect([...new Set(found)].sort()).toEqual(expected)
      const [exemplar] = (await prometheus.queryExemplars('portcullis_http_request_duration_seconds_bucket{route="it"}')).flatMap(
        (s) => s.exemplars,
      )
      expect(exemplar!.labels.span_id).toMatch(/^[0-9a-f]{16}$/)
      expect(exemplar!.labels.span_id).not.toBe('00f067aa0ba902b7')
    } finally {
      await prometheus.stop()
      await gateway.close()
      await upstream.close()
    }
  })

  it('a client whose flag is not believed leaves no exemplar', async () => {
    const upstream = await startUpstream()
    const gateway = await startGateway({ routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public' }] })
    try {
      await fetch(`${gateway.url}/it`, traceparent(KEPT, '01'))
      const answer = await fetch(`${gateway.adminUrl}/metrics`, { headers: { accept: 'application/openmetrics-text' } })
      const text = await answer.text()
      expect(text).toContain('portcullis_http_request_duration_seconds_count{route="it",method="GET"} 1')
      expect(text).not.toContain('trace_id')
    } finally {
      await gateway.close()
      await upstream.close()
    }
  })

  it('the merged answer of several workers has exemplars, and its text format is clean for promtool', async () => {
    const upstream = await startUpstream()
    const gateway = await startGatewayProcess({
      server: { workers: 2, ...TRUSTING },
      stores: { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') },
      routes: [{ name: 'it', match: { path: '/it' }, upstream: [upstream.url], access: 'public' }],
    })
    const prometheus = await startPrometheus({ targets: [new URL(gateway.adminUrl).host], scrapeIntervalMs: 500 })
    try {
      await fetch(`${gateway.url}/it`, traceparent(KEPT, '01'))
      const found = await until(async () => {
        const traces = await tracesIn(prometheus)
        return traces.length >= HISTOGRAMS.length && traces
      }, 'the exemplars')
      expect([...new Set(found)].sort()).toEqual(expected)
      expect(await prometheus.query('portcullis_workers')).toMatchObject([{ value: 2 }])

      const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
      expect(text).not.toContain('trace_id')
      expect(promtool(['check', 'metrics'], { input: text })).toEqual({ code: 0, output: '' })
    } finally {
      await prometheus.stop()
      await gateway.stop()
      await upstream.close()
    }
  })

  it('the text format of one process is clean for promtool, and the answer to Prometheus is OpenMetrics', async () => {
    const gateway = await startGateway()
    try {
      const plain = await fetch(`${gateway.adminUrl}/metrics`)
      expect(plain.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
      expect(promtool(['check', 'metrics'], { input: await plain.text() })).toEqual({ code: 0, output: '' })

      const open = await fetch(`${gateway.adminUrl}/metrics`, {
        headers: { accept: 'application/openmetrics-text;version=1.0.0,*/*;q=0.1' },
      })
      expect(open.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
      expect((await open.text()).endsWith('\n# EOF\n')).toBe(true)
    } finally {
      await gateway.close()
    }
  })
})
