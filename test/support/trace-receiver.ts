/** Receives spans over OTLP/HTTP, as a collector does, and keeps them. It can also be slow, refuse, or be away. */
import { once } from 'node:events'
import http, { type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

export interface ReceivedSpan {
  traceId: string
  spanId: string
  /** Empty: the span is the first of its trace. */
  parentSpanId: string
  name: string
  kind: 'internal' | 'server' | 'client'
  /** Nanoseconds since the epoch. */
  start: bigint
  end: bigint
  isError: boolean
  message: string
  state: string
  attributes: Record<string, string | number>
  resource: Record<string, string | number>
}

export interface TraceReceiver {
  url: string
  /** Of all deliveries that were accepted. */
  spans(): ReceivedSpan[]
  /** Of one trace, in the order of their beginnings. */
  trace(traceId: string): ReceivedSpan[]
  deliveries(): { path: string; headers: IncomingHttpHeaders }[]
  /** The answer from now on. `hang`: none. */
  answer(with_: number | 'hang', headers?: Record<string, string>): void
  close(): Promise<void>
}

export async function startTraceReceiver(port = 0): Promise<TraceReceiver> {
  const spans: ReceivedSpan[] = []
  const deliveries: { path: string; headers: IncomingHttpHeaders }[] = []
  let status: number | 'hang' = 200
  let fields: Record<string, string> = {}
  const server = http.createServer(async (req, res) => {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk)
    const raw = Buffer.concat(chunks)
    const body = req.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw
    deliveries.push({ path: req.url!, headers: req.headers })
    if (status === 'hang') return
    if (status === 200) spans.push(...(req.headers['content-type'] === 'application/json' ? fromJson(body) : fromProtobuf(body)))
    res.writeHead(status, { 'content-type': req.headers['content-type']!, ...fields }).end(status === 200 ? '' : 'secret-of-the-collector')
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: () => spans,
    trace: (traceId) => spans.filter((span) => span.traceId === traceId).sort((a, b) => Number(a.start - b.start)),
    deliveries: () => deliveries,
    answer(with_, headers = {}) {
      status = with_
      fields = headers
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

const KINDS = ['', 'internal', 'server', 'client'] as const
const STATUS_ERROR = 2

interface JsonValue {
  stringValue?: string
  intValue?: number | string
  doubleValue?: number
}
type JsonAttributes = { key: string; value: JsonValue }[]
interface JsonSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  traceState?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: JsonAttributes
  status: { code?: number; message?: string }
}

const plain = (attributes: JsonAttributes) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.doubleValue ?? Number(value.intValue)]))

function fromJson(body: Buffer): ReceivedSpan[] {
  const { resourceSpans } = JSON.parse(body.toString()) as {
    resourceSpans: { resource: { attributes: JsonAttributes }; scopeSpans: { spans: JsonSpan[] }[] }[]
  }
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        name: span.name,
        kind: KINDS[span.kind] as ReceivedSpan['kind'],
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        isError: span.status.code === STATUS_ERROR,
        message: span.status.message ?? '',
        state: span.traceState ?? '',
        attributes: plain(span.attributes),
        resource: plain(resource.attributes),
      })),
    ),
  )
}

type Fields = Map<number, (Buffer | bigint)[]>

/** The fields of a message (https://protobuf.dev/programming-guides/encoding/), without their names. */
function fieldsOf(message: Buffer): Fields {
  const fields: Fields = new Map()
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const bytes = (length: number) => {
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const tag = Number(varint())
    const type = tag & 7
    const value = type === 0 ? varint() : type === 1 ? bytes(8) : type === 5 ? bytes(4) : bytes(Number(varint()))
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value])
  }
  return fields
}

/** opentelemetry/proto/trace/v1/trace.proto and its neighbours; the numbers are those of the fields. */
function fromProtobuf(body: Buffer): ReceivedSpan[] {
  const messages = (fields: Fields, number: number) => (fields.get(number) ?? []).map((value) => fieldsOf(value as Buffer))
  const text = (fields: Fields, number: number) => (fields.get(number)?.[0] as Buffer | undefined)?.toString() ?? ''
  const hex = (fields: Fields, number: number) => (fields.get(number)?.[0] as Buffer | undefined)?.toString('hex') ?? ''
  const fixed64 = (fields: Fields, number: number) => (fields.get(number)![0] as Buffer).readBigUInt64LE()
  const attributes = (fields: Fields, number: number) =>
    Object.fromEntries(
      messages(fields, number).map((pair) => {
        const value = messages(pair, 2)[0]!
        return [text(pair, 1), value.has(1) ? text(value, 1) : Number(value.get(3)![0])]
      }),
    )
  return messages(fieldsOf(body), 1).flatMap((ofResource) =>
    messages(ofResource, 2).flatMap((ofScope) =>
      messages(ofScope, 2).map((span): ReceivedSpan => {
        const status = messages(span, 15)[0] ?? new Map()
        return {
          traceId: hex(span, 1),
          spanId: hex(span, 2),
          state: text(span, 3),
          parentSpanId: hex(span, 4),
          name: text(span, 5),
          kind: KINDS[Number(span.get(6)![0])] as ReceivedSpan['kind'],
          start: fixed64(span, 7),
          end: fixed64(span, 8),
          attributes: attributes(span, 9),
          isError: Number(status.get(3)?.[0] ?? 0n) === STATUS_ERROR,
          message: text(status, 2),
          resource: attributes(messages(ofResource, 1)[0]!, 1),
        }
      }),
    ),
  )
}
