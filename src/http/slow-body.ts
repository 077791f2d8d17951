/** Bodies of our own endpoints are no larger than a header section, and have as long. */
import { PassThrough } from 'node:stream'
import type { preParsingAsyncHookHandler } from 'fastify'
import { problem } from '../errors.ts'

/** A hook: 408 for who is too slow with a body, while there is still somebody to answer; Node's own deadline would be minutes away. */
export const boundBody =
  (timeoutMs: number): preParsingAsyncHookHandler =>
  async (request, reply, payload) => {
    if (request.raw.complete) return payload
    // apart from the request: that takes its connection with it when it is broken off
    const body = new PassThrough()
    const late = setTimeout(() => body.destroy(problem('request_timeout', { cause: `no whole body within ${timeoutMs} ms` })), timeoutMs)
    const rest = () => clearTimeout(late)
    // the request may be answered, or gone, before anybody reads its body
    body.on('error', () => {}).once('close', rest)
    reply.raw.once('close', rest)
    payload.once('error', (error) => body.destroy(error))
    request.raw.once('aborted', () => body.destroy(problem('request_malformed', { cause: 'the client broke off' })))
    return payload.pipe(body)
  }
