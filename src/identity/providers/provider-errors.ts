/**
 * Puts what a provider answered, or did not answer, into an error of ours. The texts of a provider are shown to nobody: only words of RFC 6749
 * and OpenID Connect are kept for the log.
 */
import { AuthorizationResponseError, ClientError, ResponseBodyError } from 'openid-client'
import { drawRetryAfter, Problem, problem } from '../../platform/lib/errors.ts'

/** RFC 6749 §4.1.2.1, §5.2; OpenID Connect Core §3.1.2.6. */
const WORDS = new Set([
  'access_denied',
  'account_selection_required',
  'consent_required',
  'interaction_required',
  'invalid_client',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'login_required',
  'server_error',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_response_type',
])
const TEMPORARY = new Set(['server_error', 'temporarily_unavailable'])

/** A word of an error response that may be in a log. */
const errorWord = (word: unknown): string => (typeof word === 'string' && WORDS.has(word) ? word : 'another error')

export const providerUnavailable = (cause: unknown): Problem =>
  problem('provider_unavailable', { cause, headers: { 'retry-after': String(drawRetryAfter(5)) } })

export const providerRefused = (cause: string): Problem => problem('provider_refused', { cause })

/** The answer of the authorization endpoint is an error. */
export const refusedBy = (word: unknown): Problem =>
  TEMPORARY.has(String(word))
    ? providerUnavailable(`the provider answered ${word}`)
    : providerRefused(`the provider answered ${errorWord(word)}`)

/** @param error of openid-client, jose or fetch */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof AuthorizationResponseError) return refusedBy(error.error)
  if (error instanceof ResponseBodyError)
    return error.status >= 500 ? providerUnavailable(`status ${error.status}`) : refusedBy(error.error)
  if (error instanceof ClientError) {
    const status = (error.cause as { status?: unknown } | undefined)?.status
    if (error.code === 'OAUTH_TIMEOUT' || (typeof status === 'number' && status >= 500)) return providerUnavailable(causeOf(error))
    return providerRefused(causeOf(error))
  }
  if (isJose(error)) return error.code === 'ERR_JWKS_TIMEOUT' ? providerUnavailable(error.code) : providerRefused(error.code)
  return providerUnavailable(causeOf(error))
}

/** Nobody can sign in before the metadata are read, whatever is wrong with them. */
export const metadataUnavailable = (error: unknown): Problem =>
  error instanceof Problem ? error : providerUnavailable(`the metadata cannot be read: ${causeOf(error)}`)

const isJose = (error: unknown): error is Error & { code: string } => /^ERR_J/.test(String((error as { code?: unknown } | null)?.code))

/** The code of an error: its message may hold what the provider wrote. */
function causeOf(error: unknown): string {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } }
  const word = [code, cause?.code].find((one) => typeof one === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(one))
  return typeof word === 'string' ? word : 'the provider gave no usable answer'
}
