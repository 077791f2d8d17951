/** Who decides that a request is recorded: a trusted proxy, or the sampler of the gateway. Never a stranger. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'
import { startTraceReceiver, type TraceReceiver } from '../../support/trace-receiver.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let receiver: TraceReceiver
let upstream: Upstream
beforeAll(async () => {
  receiver = await startTraceReceiver()
  upstream = await startUpstream()
})
afterAll(async () => {
  await Promise.all([upstream.close(), receiver.close()])
})

const PARENT = '00f067aa0ba902b7'
let count = 0
const newTraceId = () => `beef${String(++count).padStart(28, '0')}`

/** Sends one request for each way in which a trace can come. @returns for each whether it was recorded, and the flags that the upstream got */
async function decisions(sampler: string | null, arg: string | null, isTrusted: boolean): Promise<Record<string, string>> {
  const gateway = await startGateway({
    config: { server: { trustedProxies: isTrusted ? ['127.0.0.1/32'] : [] } },
    routes: [{ name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' }],
    env: {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/own/path`,
      OTEL_BSP_SCHEDULE_DELAY: '20',
      ...(sampler !== null && { OTEL_TRACES_SAMPLER: sampler }),
      ...(arg !== null && { OTEL_TRACES_SAMPLER_ARG: arg }),
    },
  })
  try {
    upstream.take()
    const ids = new Map<string, string>()
    for (const flags of ['01', '00']) {
      const traceId = newTraceId()
      ids.set(flags, traceId)
      await call(gateway, '/public', { headers: { traceparent: `00-${traceId}-${PARENT}-${flags}` } })
    }
    await call(gateway, '/public')
    const sent = upstream.take().map(({ headers }) => String(headers.traceparent).split('-'))
    ids.set('none', sent[2]![1]!)
    const traced = sent.filter((parts) => Number(parts[3]) & 1).map((parts) => parts[1]!)
    // what was to be recorded arrives; then the counts say that nothing else was sent
    await until(() => traced.every((id) => receiver.trace(id).length > 0), 'the recorded requests')
    await gateway.close()
    return Object.fromEntries(
      [...ids].map(([given, id], i) => [given, `${sent[i]![3]} ${receiver.trace(id).length > 0 ? 'recorded' : 'not recorded'}`]),
    )
  } catch (error) {
    await gateway.close()
    throw error
  }
}

const ALL = { '01': '01 recorded', '00': '01 recorded', none: '03 recorded' }
const NONE = { '01': '00 not recorded', '00': '00 not recorded', none: '02 not recorded' }
const AS_TOLD = { '01': '01 recorded', '00': '00 not recorded' }

describe('from a trusted proxy', () => {
  it.each<[string | null, string | null, Record<string, string>]>([
    ['always_on', null, ALL],
    ['always_off', null, NONE],
    ['traceidratio', '1', ALL],
    ['traceidratio', '0', NONE],
    ['parentbased_always_on', null, { ...AS_TOLD, none: ALL.none }],
    ['parentbased_always_off', null, { ...AS_TOLD, none: NONE.none }],
    ['parentbased_traceidratio', null, { ...AS_TOLD, none: ALL.none }],
    ['parentbased_traceidratio', '0', { ...AS_TOLD, none: NONE.none }],
  ])('%s %s decides %o', async (sampler, arg, expected) => {
    expect(await decisions(sampler, arg, true)).toEqual(expected)
  })
})

describe('from a stranger, whose flag is neither believed nor passed on', () => {
  it.each<[string | null, string | null, Record<string, string>]>([
    ['parentbased_always_on', null, ALL],
    ['parentbased_always_off', null, NONE],
    ['parentbased_traceidratio', '0', NONE],
    ['always_on', null, ALL],
  ])('%s %s decides %o', async (sampler, arg, expected) => {
    expect(await decisions(sampler, arg, false)).toEqual(expected)
  })
})

it('the trace of a stranger goes on all the same, over protobuf to the path that is named', async () => {
  const [span] = receiver.trace(`beef${String(count).padStart(28, '0')}`)
  expect(span).toMatchObject({ parentSpanId: PARENT, name: 'GET public', kind: 'server' })
  expect(receiver.deliveries().at(-1)).toMatchObject({ path: '/own/path', headers: { 'content-type': 'application/x-protobuf' } })
})

it('without a sampler, one request in a hundred is recorded', async () => {
  let gateway: Gateway | undefined
  try {
    gateway = await startGateway({ env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_BSP_SCHEDULE_DELAY: '20' } })
    // traces whose ids lie on both sides of the bound: the sampler decides by the id alone
    const [low, high] = ['00000001'.padEnd(32, '0'), 'f0000000'.padEnd(32, '0')]
    for (const id of [low, high]) await call(gateway, '/health', { headers: { traceparent: `00-${id}-${PARENT}-00` } })
    await until(() => receiver.trace(low).length > 0, 'the trace')
    await gateway.close()
    expect(receiver.trace(high)).toEqual([])
  } finally {
    await gateway?.close()
  }
})

it('with tracing off, the decision of a trusted proxy goes on, and that of a stranger does not', async () => {
  for (const isTrusted of [true, false]) {
    const gateway = await startGateway({
      config: { server: { trustedProxies: isTrusted ? ['127.0.0.1/32'] : [] } },
      routes: [{ name: 'public', match: { path: '/public' }, upstream: [upstream.url], access: 'public' }],
    })
    try {
      upstream.take()
      const traceId = newTraceId()
      await call(gateway, '/public', { headers: { traceparent: `00-${traceId}-${PARENT}-01` } })
      expect(upstream.take()[0]!.headers.traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-0${isTrusted ? 1 : 0}$`))
      expect(await metric(gateway, 'portcullis_spans_exported_total')).toBe(0)
    } finally {
      await gateway.close()
    }
  }
})
