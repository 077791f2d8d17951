/** HTTP calls to providers, issuers and ACME servers: bounded in time and size, without redirects, and with the operator's own CAs. */
import { readFileSync } from 'node:fs'
import { Agent, fetch as undiciFetch } from 'undici'

export type Fetch = (url: string, init?: object) => Promise<Response>

const CONNECT_MS = 3000
const ANSWER_MS = 5000
const MAX_BYTES = 1_048_576

/** @param caFile PEM. Undefined: the usual CAs. @throws when the file cannot be read */
export function createBoundedFetch(caFile: string | undefined, answerMs = ANSWER_MS): Fetch {
  const ca = caFile === undefined ? {} : { ca: readFileSync(caFile, 'utf8') }
  const dispatcher = new Agent({
    connect: { timeout: CONNECT_MS, ...ca },
    headersTimeout: answerMs,
    bodyTimeout: answerMs,
    maxResponseSize: MAX_BYTES,
    keepAliveTimeout: 4000,
  })
  return (url, init) => undiciFetch(url, { redirect: 'manual', ...init, dispatcher }) as unknown as Promise<Response>
}
