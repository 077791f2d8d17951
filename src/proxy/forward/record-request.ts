/** What a recorded request says of itself in its spans: names of the configuration, codes and ids. Never a path, a user, or an address of a client. */
import { beginSpan, endSpan, fail, finishRecording, type Recording } from '../../platform/telemetry/recording.ts'
import type { Exchange } from '../routing/exchange.ts'
import type { Upstream } from '../upstream/upstreams.ts'

/** The request leaves for an upstream, for the first time or again. Its `traceparent` names this span. @param sentBefore how often it left before */
export function beginSending(
  recording: Recording,
  { name, address }: Pick<Upstream, 'name' | 'address'>,
  method: string,
  sentBefore: number,
) {
  endSending(recording)
  recording.sending = beginSpan(recording, method, 'client', recording.stage ?? recording.server, {
    'http.request.method': method,
    'url.scheme': address.isTls ? 'https' : 'http',
    'server.address': address.host,
    'server.port': address.port,
    'portcullis.upstream': name,
    ...(sentBefore > 0 && { 'http.request.resend_count': sentBefore }),
  })
}

/** The upstream's status has come. */
export function sendingAnswered({ sending }: Recording, status: number): void {
  if (sending === null || sending.endedAt !== null) return
  sending.attributes['http.response.status_code'] = status
  if (status < 400) return
  sending.errorType = String(status)
  sending.isFailed = true
}

export function endSending({ sending }: Recording, error?: unknown): void {
  if (sending !== null) endSpan(sending, error)
}

export interface RequestEnd {
  /** As a label: a method that clients invented is OTHER. */
  method: string
  /** Of HTTP. */
  version: string
  status: number
  /** The whole response was sent. */
  isComplete: boolean
}

/** The request has ended. Only the first call counts. */
export function finishRequestRecording(exchange: Exchange, { method, version, status, isComplete }: RequestEnd): void {
  const { recording, label, error, client, requestId, asked } = exchange
  if (recording === null || recording.isFinished) return
  const { server } = recording
  server.name = label === 'none' ? method : `${method} ${label}`
  Object.assign(server.attributes, {
    'http.request.method': method === 'OTHER' ? '_OTHER' : method,
    ...(label !== 'none' && { 'http.route': label }),
    'http.response.status_code': status,
    'url.scheme': client.isSecure ? 'https' : 'http',
    'network.protocol.version': version,
    'portcullis.request_id': requestId,
    ...(asked && { 'portcullis.kind': 'verify' }),
  })
  if (error) fail(server, error)
  else if (!isComplete) server.errorType = 'broken_off'
  else if (status >= 500) server.errorType = String(status)
  // an upstream's own 500, too, and a response that was broken off
  if (status >= 500 || !isComplete) server.isFailed = true
  if (error && recording.stage) endSpan(recording.stage, error)
  finishRecording(recording)
}
