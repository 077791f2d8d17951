/** Says in one word what is wrong with Redis: the `kind` of log lines and of `redis_errors_total`. */

export const REDIS_ERROR_KINDS = ['oom', 'noscript', 'noperm', 'auth', 'loading', 'readonly', 'timeout', 'reset', 'moved', 'other'] as const
export type RedisErrorKind = (typeof REDIS_ERROR_KINDS)[number]

/** Redis 6 and older report an error inside of a script as `ERR Error running script (…): …: -OOM …`. */
const KINDS: readonly (readonly [RegExp, RedisErrorKind])[] = [
  [/(^|-)OOM /, 'oom'],
  [/(^|-)NOSCRIPT /, 'noscript'],
  [/(^|-)NOPERM |ACL failure in script|The user executing the script can't/, 'noperm'],
  [/^(NOAUTH|WRONGPASS) |^ERR invalid password|^ERR .*\bAUTH\b/, 'auth'],
  [/(^|-)LOADING /, 'loading'],
  [/(^|-)READONLY /, 'readonly'],
  [/\b(MOVED|ASK) \d/, 'moved'],
  [/ETIMEDOUT|timed out|socket timeout/i, 'timeout'],
  [/ECONN(REFUSED|RESET|ABORTED)|EPIPE|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|closed|socket (hang up|disconnected)/i, 'reset'],
]

/** Errors of ioredis that say only that there is no connection. Its loss was reported before, with the cause. */
const WITHOUT_CONNECTION = /isn't writeable|isn't ready|not ready|max retries per request|connection is closed|none of startup nodes/i

/** An error that Redis itself answered. */
export const isAnswer = (error: unknown): boolean => (error as Error | null)?.name === 'ReplyError'

/** @returns null when the error says only that there is no connection */
export function kindOf(error: unknown): RedisErrorKind | null {
  const text = textOf(error)
  if (!isAnswer(error) && WITHOUT_CONNECTION.test(text)) return null
  return KINDS.find(([pattern]) => pattern.test(text))?.[1] ?? 'other'
}

/** The text of an error for the log. Redis repeats the arguments of unknown commands: they may hold keys, and the password of AUTH. */
export function causeOf(error: unknown, secrets: readonly string[]): string {
  const text = textOf(error).replace(/,? with args beginning with.*$/s, '')
  return secrets.reduce((shown, secret) => shown.replaceAll(secret, '***'), text).slice(0, 300)
}

function textOf(error: unknown): string {
  const { message, code, lastNodeError } = (error ?? {}) as { message?: string; code?: string; lastNodeError?: unknown }
  // the error of a whole cluster holds the cause of its last node; an AggregateError of several addresses has no message
  if (lastNodeError) return textOf(lastNodeError)
  return message || code || String(error)
}
