/** The standard variables of OpenTelemetry for traces: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ */
import type { ConfigProblem } from './source.ts'

export const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const
export type SamplerName = (typeof SAMPLERS)[number]

const PROTOCOLS = ['http/protobuf', 'http/json'] as const
const COMPRESSIONS = ['none', 'gzip'] as const

/** Where spans go, and which requests have spans. */
export interface TracingSettings {
  /** The whole URL. It may hold a password. */
  url: string
  protocol: (typeof PROTOCOLS)[number]
  /** Secrets. */
  headers: Record<string, string>
  /** Of one delivery, with its repetitions. Milliseconds. */
  timeoutMs: number
  compression: (typeof COMPRESSIONS)[number]
  /** PEM. Undefined: the certificates that Node trusts. */
  ca: string | undefined
  cert: string | undefined
  key: string | undefined
  serviceName: string
  resourceAttributes: Record<string, string>
  sampler: SamplerName
  /** The share of requests that the samplers `…traceidratio` record, from 0 to 1. */
  ratio: number
  /** Spans wait so long for a delivery. Milliseconds. */
  delayMs: number
  exportTimeoutMs: number
  /** More spans are dropped. */
  maxQueue: number
  maxBatch: number
}

export interface TracingVariables {
  /** Null: tracing is off, or there are problems. */
  settings: TracingSettings | null
  problems: ConfigProblem[]
}

const DEFAULT_URL = 'http://localhost:4318'
/** The specification's default records every request. A gateway is asked by strangers, and each recorded request has about twenty spans. */
const DEFAULT_SAMPLER: SamplerName = 'parentbased_traceidratio'
const DEFAULT_RATIO = 0.01

/** Off unless an endpoint or the exporter is named. Empty variables count as not set. */
export function readTracingVariables(env: NodeJS.ProcessEnv, readFile: (path: string) => string): TracingVariables {
  const problems: ConfigProblem[] = []
  const read = readerOf(env, problems)
  const isDisabled = read.choice('OTEL_SDK_DISABLED', ['true', 'false'], 'false') === 'true'
  const exporter = read.choice('OTEL_TRACES_EXPORTER', ['otlp', 'none'], null)
  const isNamed = exporter === 'otlp' || read.text('OTEL_EXPORTER_OTLP_ENDPOINT') || read.text('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  if (isDisabled || exporter === 'none' || !isNamed) return { settings: null, problems }

  const file = (name: string) => read.file(name, readFile)
  const settings: TracingSettings = {
    url: read.endpoint(),
    protocol: read.choice(read.ofTraces('PROTOCOL'), PROTOCOLS, 'http/protobuf'),
    headers: { ...read.pairs('OTEL_EXPORTER_OTLP_HEADERS', HEADER), ...read.pairs('OTEL_EXPORTER_OTLP_TRACES_HEADERS', HEADER) },
    timeoutMs: read.number(read.ofTraces('TIMEOUT'), 10_000, 1),
    compression: read.choice(read.ofTraces('COMPRESSION'), COMPRESSIONS, 'none'),
    ca: file(read.ofTraces('CERTIFICATE')),
    cert: file(read.ofTraces('CLIENT_CERTIFICATE')),
    key: file(read.ofTraces('CLIENT_KEY')),
    serviceName: read.text('OTEL_SERVICE_NAME'),
    resourceAttributes: read.pairs('OTEL_RESOURCE_ATTRIBUTES', ATTRIBUTE),
    sampler: read.choice('OTEL_TRACES_SAMPLER', SAMPLERS, DEFAULT_SAMPLER),
    ratio: read.ratio(),
    delayMs: read.number('OTEL_BSP_SCHEDULE_DELAY', 5000, 0),
    exportTimeoutMs: read.number('OTEL_BSP_EXPORT_TIMEOUT', 30_000, 1),
    maxQueue: read.number('OTEL_BSP_MAX_QUEUE_SIZE', 2048, 1),
    maxBatch: read.number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512, 1),
  }
  settings.serviceName ||= settings.resourceAttributes['service.name'] ?? 'portcullis'
  if ((settings.cert === undefined) !== (settings.key === undefined) && problems.length === 0)
    problems.push({
      where: settings.cert === undefined ? read.ofTraces('CLIENT_KEY') : read.ofTraces('CLIENT_CERTIFICATE'),
      path: '',
      message: 'a client certificate and its key belong together',
      hint: 'set both variables, or neither',
    })
  if (settings.maxBatch > settings.maxQueue) {
    if (read.text('OTEL_BSP_MAX_EXPORT_BATCH_SIZE') === '') settings.maxBatch = settings.maxQueue
    else
      problems.push({
        where: 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
        path: '',
        message: `is more than OTEL_BSP_MAX_QUEUE_SIZE = ${settings.maxQueue}`,
        hint: 'a batch is taken from the queue: set it to no more than the queue',
      })
  }
  return { settings: problems.length === 0 ? settings : null, problems }
}

interface PairRule {
  name: RegExp
  value: RegExp
  hint: string
}
/** RFC 9110 §5.1, §5.5 */
const HEADER: PairRule = {
  name: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/,
  value: /^[\t\x20-\x7e]*$/,
  hint: 'write it as name=value,name=value with values in percent-encoding, for example authorization=Bearer%20…',
}
const ATTRIBUTE: PairRule = {
  name: /^[\x21-\x7e]+$/,
  value: /^\P{Cc}*$/u,
  hint: 'write it as key=value,key=value with values in percent-encoding, for example deployment.environment.name=production',
}

function readerOf(env: NodeJS.ProcessEnv, problems: ConfigProblem[]) {
  const text = (name: string): string => env[name]?.trim() ?? ''
  const refuse = (where: string, message: string, hint: string) => void problems.push({ where, path: '', message, hint })
  /** The variable for traces, if it is set: it overrides the variable for all signals. */
  const ofTraces = (name: string): string =>
    text(`OTEL_EXPORTER_OTLP_TRACES_${name}`) === '' ? `OTEL_EXPORTER_OTLP_${name}` : `OTEL_EXPORTER_OTLP_TRACES_${name}`

  function choice<T extends string, D extends T | null>(name: string, choices: readonly T[], fallback: D): T | D {
    const given = text(name).toLowerCase()
    if (given === '') return fallback
    const found = choices.find((one) => one === given)
    if (found !== undefined) return found
    const isGrpc = given === 'grpc'
    refuse(
      name,
      isGrpc ? 'grpc is not supported' : 'is none of the values that are supported',
      isGrpc ? 'use http/protobuf: collectors take it at port 4318' : `set it to ${choices.join(', ').replace(/, ([^,]*)$/, ' or $1')}`,
    )
    return fallback
  }

  function number(name: string, fallback: number, min: number): number {
    const given = text(name)
    if (given === '') return fallback
    const value = Number(given)
    if (/^\d{1,9}$/.test(given) && value >= min) return value
    refuse(name, 'is not a number that is possible here', `set it to a whole number from ${min} to 999999999, such as ${fallback}`)
    return fallback
  }

  /** The values may be secrets: no message holds them. */
  function pairs(name: string, rule: PairRule): Record<string, string> {
    const found: Record<string, string> = {}
    for (const pair of text(name).split(',')) {
      if (pair.trim() === '') continue
      const cut = pair.indexOf('=')
      const key = pair.slice(0, Math.max(cut, 0)).trim()
      const value = decoded(pair.slice(cut + 1).trim())
      if (!rule.name.test(key) || value === null || !rule.value.test(value)) {
        refuse(name, `part ${Object.keys(found).length + 1} is malformed`, rule.hint)
        return {}
      }
      found[key] = value
    }
    return found
  }

  function endpoint(): string {
    const ofTraces = text('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
    const name = ofTraces === '' ? 'OTEL_EXPORTER_OTLP_ENDPOINT' : 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'
    const url = URL.parse(ofTraces || text('OTEL_EXPORTER_OTLP_ENDPOINT') || DEFAULT_URL)
    if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') {
      refuse(name, 'is no URL of http or https', `set it to the address of a collector, such as ${DEFAULT_URL}`)
      return DEFAULT_URL
    }
    if (ofTraces === '') url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
    return url.href
  }

  function ratio(): number {
    const given = text('OTEL_TRACES_SAMPLER_ARG')
    // the specification's default of the samplers that are named without a ratio
    if (given === '') return text('OTEL_TRACES_SAMPLER') === '' ? DEFAULT_RATIO : 1
    const value = Number(given)
    if (/^(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(given) && value <= 1) return value
    refuse('OTEL_TRACES_SAMPLER_ARG', 'is no share', 'set it to a number from 0 to 1, such as 0.01 for one request in a hundred')
    return 0
  }

  function file(name: string, readFile: (path: string) => string): string | undefined {
    const path = text(name)
    if (path === '') return undefined
    try {
      return readFile(path)
    } catch (error) {
      refuse(
        name,
        `the file cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'error'}`,
        'name a PEM file that this user can read',
      )
      return undefined
    }
  }

  return { text, ofTraces, choice, number, pairs, endpoint, ratio, file }
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** For the log: no password, no path and no query, which may hold a key. */
export const shownEndpoint = ({ url }: Pick<TracingSettings, 'url'>): string => new URL(url).origin

/** The sampler with its share, as the log names it. */
export const shownSampler = ({ sampler, ratio }: Pick<TracingSettings, 'sampler' | 'ratio'>): string =>
  sampler.endsWith('traceidratio') ? `${sampler} ${ratio}` : sampler
