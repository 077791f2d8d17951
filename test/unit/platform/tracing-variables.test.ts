import { describe, expect, it } from 'vitest'
import { readTracingVariables, shownEndpoint, shownSampler } from '../../../src/platform/config/tracing-variables.ts'

const files: Record<string, string> = { '/ca.pem': 'a CA', '/cert.pem': 'a certificate', '/key.pem': 'a key' }
const readFile = (path: string) => {
  const text = files[path]
  if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
  return text
}
const read = (env: NodeJS.ProcessEnv) => readTracingVariables(env, readFile)
const COLLECTOR = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }
const settings = (env: NodeJS.ProcessEnv) => {
  const { settings, problems } = read({ ...COLLECTOR, ...env })
  expect(problems).toEqual([])
  return settings!
}

describe('tracing is off', () => {
  it.each<[string, NodeJS.ProcessEnv]>([
    ['without variables', {}],
    ['with empty ones', { OTEL_EXPORTER_OTLP_ENDPOINT: '', OTEL_TRACES_EXPORTER: ' ' }],
    ['with others, right or wrong', { OTEL_SERVICE_NAME: 'x', OTEL_TRACES_SAMPLER: 'sometimes', OTEL_METRICS_EXPORTER: 'prometheus' }],
    ['with an endpoint of another signal', { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://collector:4318/v1/metrics' }],
    ['with the exporter none', { ...COLLECTOR, OTEL_TRACES_EXPORTER: 'none' }],
    ['when it is disabled', { ...COLLECTOR, OTEL_SDK_DISABLED: 'TRUE' }],
  ])('%s', (_, env) => {
    expect(read(env)).toEqual({ settings: null, problems: [] })
  })
})

describe('tracing is on', () => {
  it('with an endpoint, and the defaults of the specification but for the sampler', () => {
    expect(settings({})).toEqual({
      url: 'http://collector:4318/v1/traces',
      protocol: 'http/protobuf',
      headers: {},
      timeoutMs: 10_000,
      compression: 'none',
      ca: undefined,
      cert: undefined,
      key: undefined,
      serviceName: 'portcullis',
      resourceAttributes: {},
      sampler: 'parentbased_traceidratio',
      ratio: 0.01,
      delayMs: 5000,
      exportTimeoutMs: 30_000,
      maxQueue: 2048,
      maxBatch: 512,
    })
  })

  it.each<[string, NodeJS.ProcessEnv, string]>([
    [
      'the exporter alone: this machine',
      { OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_ENDPOINT: '' },
      'http://localhost:4318/v1/traces',
    ],
    ['a path', { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c.test/otlp' }, 'https://c.test/otlp/v1/traces'],
    ['a path that ends with a slash', { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c.test/otlp/' }, 'https://c.test/otlp/v1/traces'],
    ['the endpoint of traces, as it is', { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://c.test/here' }, 'https://c.test/here'],
  ])('with %s', (_, env, url) => {
    expect(settings(env).url).toBe(url)
  })

  it('with variables of traces before those of all signals; headers are joined', () => {
    expect(
      settings({
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
        OTEL_EXPORTER_OTLP_HEADERS: 'a=1, b=x%20y,',
        OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'a=2',
        OTEL_EXPORTER_OTLP_TIMEOUT: '5000',
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '3000',
        OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
        OTEL_EXPORTER_OTLP_CERTIFICATE: '/ca.pem',
        OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: '/cert.pem',
        OTEL_EXPORTER_OTLP_CLIENT_KEY: '/key.pem',
      }),
    ).toMatchObject({
      protocol: 'http/json',
      headers: { a: '2', b: 'x y' },
      timeoutMs: 3000,
      compression: 'gzip',
      ca: 'a CA',
      cert: 'a certificate',
      key: 'a key',
    })
  })

  it('with names of the service and of resources', () => {
    const attributes = 'service.name=from-attributes,team=a%2Cb'
    expect(settings({ OTEL_RESOURCE_ATTRIBUTES: attributes })).toMatchObject({
      serviceName: 'from-attributes',
      resourceAttributes: { 'service.name': 'from-attributes', team: 'a,b' },
    })
    expect(settings({ OTEL_RESOURCE_ATTRIBUTES: attributes, OTEL_SERVICE_NAME: 'edge' }).serviceName).toBe('edge')
  })

  it.each<[NodeJS.ProcessEnv, string]>([
    [{ OTEL_TRACES_SAMPLER: 'always_off' }, 'always_off'],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio' }, 'traceidratio 1'],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' }, 'parentbased_traceidratio 0.25'],
    [{ OTEL_TRACES_SAMPLER_ARG: '1e-3' }, 'parentbased_traceidratio 0.001'],
  ])('with the sampler of %o', (env, shown) => {
    expect(shownSampler(settings(env))).toBe(shown)
  })

  it('with a queue smaller than a batch', () => {
    expect(settings({ OTEL_BSP_MAX_QUEUE_SIZE: '100' })).toMatchObject({ maxQueue: 100, maxBatch: 100 })
  })

  it('and shows no more of the endpoint than its origin', () => {
    expect(shownEndpoint(settings({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://user:secret@c.test/secret?key=secret' }))).toBe('https://c.test')
  })
})

describe('a wrong value is a problem that names its variable, and not the value', () => {
  it.each<[NodeJS.ProcessEnv, string]>([
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'secret:4318' }, 'is no URL of http or https'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'ftp://secret' }, 'is no URL of http or https'],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'grpc is not supported'],
    [{ OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'secret' }, 'is none of the values that are supported'],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'secret' }, 'part 1 is malformed'],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'a=1,b c=secret' }, 'part 2 is malformed'],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'a=secret%0D%0Ab' }, 'part 1 is malformed'],
    [{ OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'a=%secret' }, 'part 1 is malformed'],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: '0' }, 'is not a number that is possible here'],
    [{ OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '10s' }, 'is not a number that is possible here'],
    [{ OTEL_EXPORTER_OTLP_COMPRESSION: 'brotli' }, 'is none of the values that are supported'],
    [{ OTEL_EXPORTER_OTLP_CERTIFICATE: '/secret' }, 'the file cannot be read: ENOENT'],
    [{ OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: '/cert.pem' }, 'a client certificate and its key belong together'],
    [{ OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: '/key.pem' }, 'a client certificate and its key belong together'],
    [{ OTEL_RESOURCE_ATTRIBUTES: 'secret' }, 'part 1 is malformed'],
    [{ OTEL_TRACES_EXPORTER: 'zipkin' }, 'is none of the values that are supported'],
    [{ OTEL_TRACES_SAMPLER: 'secret' }, 'is none of the values that are supported'],
    [{ OTEL_TRACES_SAMPLER_ARG: '1.5' }, 'is no share'],
    [{ OTEL_TRACES_SAMPLER_ARG: '-1' }, 'is no share'],
    [{ OTEL_BSP_SCHEDULE_DELAY: '-5' }, 'is not a number that is possible here'],
    [{ OTEL_BSP_EXPORT_TIMEOUT: 'x' }, 'is not a number that is possible here'],
    [{ OTEL_BSP_MAX_QUEUE_SIZE: '0' }, 'is not a number that is possible here'],
    [{ OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '3000' }, 'is more than OTEL_BSP_MAX_QUEUE_SIZE = 2048'],
    [{ OTEL_SDK_DISABLED: 'yes' }, 'is none of the values that are supported'],
  ])('%o', (env, message) => {
    const { settings, problems } = read({ ...COLLECTOR, ...env })
    expect(settings).toBeNull()
    expect(problems).toEqual([{ where: Object.keys(env)[0], path: '', message, hint: expect.any(String) }])
    expect(JSON.stringify(problems)).not.toContain('secret')
  })
})
