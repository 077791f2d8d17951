/** Bounds the time for the bodies of the gateway's own endpoints, which are as small as header sections. */
import { PassThrough } from 'node:stream'
import type { preParsingAsyncHookHandler } from 'fastify'
import { problem } from '../lib/errors.ts'
import { pipeApart } from '../request/drain.ts'

/** A hook: answers 408 when a body is too slow. Node's own deadline is minutes later. */
export const boundBody =
  (timeoutMs: number): preParsingAsyncHookHandler =>
  async ({ raw }, reply, payload) => {
    if (raw.complete) return payload
    const body = pipeApart(raw, new PassThrough())
    const late = setTimeout(
      () => body.destroy(problem('request_timeout', { cause: `the body was incomplete after ${timeoutMs} ms` })),
      timeoutMs,
    )
    const rest = () => clearTimeout(late)
    // the response may be sent, or the connection closed, before the body is read
    body.once('close', rest)
    reply.raw.once('close', rest)
    return body
  }
