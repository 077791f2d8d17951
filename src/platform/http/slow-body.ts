/** Bodies of our own endpoints are no larger than a header section, and have as long. */
import { PassThrough } from 'node:stream'
import type { preParsingAsyncHookHandler } from 'fastify'
import { problem } from '../lib/errors.ts'
import { pipeApart } from '../request/drain.ts'

/** A hook: 408 for who is too slow with a body, while there is still somebody to answer; Node's own deadline would be minutes away. */
export const boundBody =
  (timeoutMs: number): preParsingAsyncHookHandler =>
  async ({ raw }, reply, payload) => {
    if (raw.complete) return payload
    const body = pipeApart(raw, new PassThrough())
    const late = setTimeout(() => body.destroy(problem('request_timeout', { cause: `no whole body within ${timeoutMs} ms` })), timeoutMs)
    const rest = () => clearTimeout(late)
    // the request may be answered, or gone, before anybody reads its body
    body.once('close', rest)
    reply.raw.once('close', rest)
    return body
  }
