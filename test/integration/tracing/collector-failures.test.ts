/** A collector that is away, slow or refusing costs spans and one log line: no request waits, and no secret is shown. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort, until } from '../../support/processes.ts'
import { startTraceReceiver, type TraceReceiver } from '../../support/trace-receiver.ts'

const SECRET = 'collector-key-5up3r'
const PASSWORD = 'collector-password-5up3r'
let receiver: TraceReceiver
beforeAll(async () => {
  receiver = await startTraceReceiver()
})
afterAll(() => receiver.close())

const start = (endpoint: string, env: NodeJS.ProcessEnv = {}) =>
  startGateway({
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint.replace('://', `://portcullis:${PASSWORD}@`),
      OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${SECRET},x-tenant=a%20b`,
      OTEL_TRACES_SAMPLER: 'always_on',
      OTEL_EXPORTER_OTLP_TIMEOUT: '200',
      OTEL_BSP_SCHEDULE_DELAY: '10',
      ...env,
    },
  })
const dropped = (gateway: Gateway, reason: string) => metric(gateway, 'portcullis_spans_dropped_total', { reason })
const complaints = (gateway: Gateway) => gateway.log().filter(({ reason }) => reason === 'spans_dropped')

/** Asks until spans were dropped, and again. Each request is answered. */
async function asks(gateway: Gateway, reason = 'export'): Promise<void> {
  for (const least of [1, 2]) {
    const before = await dropped(gateway, reason)
    await until(async () => {
      expect((await call(gateway, '/health')).status).toBe(200)
      return (await dropped(gateway, reason)) > before
    }, `dropped spans, ${least}`)
  }
}

describe('while the collector', () => {
  it.each<[string, () => void, string]>([
    ['answers 500', () => receiver.answer(500), 'the collector answered 500'],
    ['answers 401', () => receiver.answer(401), 'the collector answered 401'],
    ['answers 429', () => receiver.answer(429, { 'retry-after': '60' }), 'the collector did not take them in time'],
    ['answers 503', () => receiver.answer(503), 'the collector did not take them in time'],
    ['does not answer', () => receiver.answer('hang'), 'the collector did not take them in time'],
  ])('%s, requests pass, spans are dropped and counted, and one line says so', async (_, fail, cause) => {
    const gateway = await start(receiver.url)
    try {
      fail()
      await asks(gateway)
      expect(complaints(gateway)).toEqual([expect.objectContaining({ level: 'warn', cause })])
      receiver.answer(200)
      const delivered = receiver.spans().length
      await until(async () => {
        await call(gateway, '/health')
        return receiver.spans().length > delivered
      }, 'a delivery')
      await until(() => gateway.log().some(({ msg }) => msg === 'spans are delivered again'), 'the log line')
      expect(complaints(gateway)).toHaveLength(1)
      const text = JSON.stringify(gateway.log())
      for (const secret of [SECRET, PASSWORD, 'secret-of-the-collector']) expect(text).not.toContain(secret)
    } finally {
      receiver.answer(200)
      await gateway.close()
    }
  })

  it('is away, the same', async () => {
    const gateway = await start(`http://127.0.0.1:${await freePort()}`)
    try {
      await asks(gateway)
      expect(complaints(gateway)).toEqual([expect.objectContaining({ level: 'warn', cause: 'ECONNREFUSED' })])
      expect(JSON.stringify(gateway.log())).not.toContain(PASSWORD)
    } finally {
      await gateway.close()
    }
  })

  it('hangs, a full queue drops whole traces', async () => {
    receiver.answer('hang')
    const env = { OTEL_EXPORTER_OTLP_TIMEOUT: '60000', OTEL_BSP_MAX_QUEUE_SIZE: '20', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '5' }
    const gateway = await start(receiver.url, env)
    try {
      await asks(gateway, 'queue')
      expect(complaints(gateway)).toEqual([expect.objectContaining({ level: 'warn', cause: 'the queue is full' })])
      const spansOfOne = 6
      expect((await dropped(gateway, 'queue')) % spansOfOne).toBe(0)
    } finally {
      receiver.answer(200)
      await gateway.close()
    }
  })
})

it('the headers and the password reach the collector', async () => {
  const gateway = await start(receiver.url)
  const before = receiver.deliveries().length
  try {
    await call(gateway, '/health')
    await until(() => receiver.deliveries().length > before, 'a delivery')
    const basic = `Basic ${Buffer.from(`portcullis:${PASSWORD}`).toString('base64')}`
    expect(receiver.deliveries().at(-1)!.headers).toMatchObject({ 'x-api-key': SECRET, 'x-tenant': 'a b', authorization: basic })
  } finally {
    await gateway.close()
  }
})

it('what waits is delivered at a stop, compressed if that is wanted', async () => {
  const gateway = await start(receiver.url, { OTEL_BSP_SCHEDULE_DELAY: '600000', OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip' })
  const before = receiver.spans().length
  await call(gateway, '/health')
  expect(receiver.spans().length).toBe(before)
  await gateway.close()
  expect(receiver.spans().length).toBeGreaterThan(before)
  expect(receiver.deliveries().at(-1)!.headers['content-encoding']).toBe('gzip')
})
