/** HTTP-01 (RFC 8555 §8.3): answers for pending tokens. For every other request the gateway behaves as if ACME did not exist. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Challenges } from './challenges.ts'

/** Answers, or calls `next`: at once, or after the database was asked. */
export type AnswerHttpChallenge = (req: IncomingMessage, res: ServerResponse, next: () => void) => void

const PREFIX = '/.well-known/acme-challenge/'
const TOKEN = /^[A-Za-z0-9_-]{22,128}$/

/** @param answered called for each answer */
export const createAnswerHttpChallenge =
  (challenges: Pick<Challenges, 'keyAuthorization'>, answered: () => void): AnswerHttpChallenge =>
  (req, res, next) => {
    const token = tokenOf(req)
    if (token === null) return next()
    const settle = (text: string | null) => {
      // the client left while the database was asked: nothing would end a request that begins now
      if (res.closed) return
      if (text === null) return next()
      answered()
      res.writeHead(200, {
        'content-type': 'application/octet-stream',
        'content-length': Buffer.byteLength(text),
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        connection: 'close',
      })
      res.end(text)
    }
    const found = challenges.keyAuthorization(token)
    if (found instanceof Promise) void found.then(settle)
    else settle(found)
  }

/** Null: no request of an ACME server. */
function tokenOf({ method, url = '', headers }: IncomingMessage): string | null {
  if (!url.startsWith(PREFIX) || method !== 'GET' || 'content-length' in headers || 'transfer-encoding' in headers) return null
  const token = url.slice(PREFIX.length)
  return TOKEN.test(token) ? token : null
}
