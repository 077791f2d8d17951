/** RFC 6749 §5.2: the form of errors of the OAuth endpoints. Log and metrics keep the code of the catalogue. */
import { detailOf, type ErrorCode, type Problem } from '../lib/errors.ts'

/** Catalogue codes that RFC 6749 also defines. */
const WORDS: readonly ErrorCode[] = ['invalid_request', 'invalid_client', 'invalid_scope', 'unsupported_grant_type']

interface OAuthError {
  status: number
  body: { error: string; error_description: string }
}

export function oauthError(problem: Problem, authPrefix: string): OAuthError {
  const { code, status } = problem
  const body = { error: wordFor(code, status), error_description: printable(detailOf(problem, authPrefix)) }
  return { status: isOfRequest(status) ? 400 : status, body }
}

/** RFC 6749 uses 400 for malformed requests for which HTTP has several statuses. */
const isOfRequest = (status: number) => status < 500 && ![401, 403, 429].includes(status)

function wordFor(code: ErrorCode, status: number): string {
  if (WORDS.includes(code)) return code
  if (code === 'forbidden') return 'insufficient_scope' // RFC 6750 §3.1
  if (status === 429 || status === 503) return 'temporarily_unavailable'
  return status >= 500 ? 'server_error' : 'invalid_request'
}

/** `error_description` is ASCII without `"` and `\`. */
const printable = (text: string) => text.replace(/["\\]/g, "'").replace(/[^\x20-\x7e]/g, '?')
