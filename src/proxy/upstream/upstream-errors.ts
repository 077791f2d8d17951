/** Maps errors of an upstream to problems of the catalogue. */
import { errors as undici } from 'undici'
import { Problem, problem } from '../../platform/lib/errors.ts'

/** undici's messages for responses that it cannot use. */
const BAD_ANSWER = /^(bad (response|upgrade)|invalid status)/i
const TIMEOUTS = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'])

const codeOf = (error: unknown): string => (error as { code?: string }).code ?? ''

export const isTimeout = (error: unknown): boolean => TIMEOUTS.has(codeOf(error))

/** From an error of undici or of Node's HTTP client. The cause is for the log: it may name an internal address. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (isTimeout(error)) return problem('upstream_timeout', { cause: error })
  const code = codeOf(error)
  const isMalformed =
    error instanceof undici.HTTPParserError ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ||
    BAD_ANSWER.test((error as Error).message) ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code.startsWith('HPE_') ||
    code === 'UND_ERR_INVALID_ARG'
  return problem(isMalformed ? 'upstream_invalid' : 'upstream_unreachable', { cause: error })
}
