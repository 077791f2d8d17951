/**
 * The catalogue of all error codes. A failure has the same code in the response, in the log's `reason`, in the metric's label and in the
 * documentation. The client reads `detail`; only the log shows `cause`.
 */
const catalogue = {
  json_invalid: [400, 'Bad Request', 'The body is not valid JSON.'],
  target_ambiguous: [400, 'Bad Request', 'The request target can be read in more than one way.'],
  header_invalid: [400, 'Bad Request', 'A header is missing, repeated or malformed.'],
  request_malformed: [400, 'Bad Request', 'The request is not valid HTTP/1.1.'],
  upgrade_unsupported: [400, 'Bad Request', 'This route does not switch protocols.'],
  link_invalid: [400, 'Bad Request', 'The link is not valid, was used before, or has expired: ask for a new one.'],
  invalid_request: [400, 'Bad Request', 'A parameter is missing, repeated or malformed.'],
  invalid_scope: [400, 'Bad Request', 'The client may not have this scope.'],
  unsupported_grant_type: [400, 'Bad Request', 'The only grant_type here is client_credentials.'],

  token_missing: [401, 'Unauthorized', 'This route needs an access token: send Authorization: Bearer <token>.'],
  token_invalid: [401, 'Unauthorized', 'The access token is not valid.'],
  token_expired: [401, 'Unauthorized', 'The access token has expired.'],
  token_revoked: [401, 'Unauthorized', 'The access token has been revoked.'],
  invalid_credentials: [401, 'Unauthorized', 'The login or the password is wrong.'],
  invalid_client: [401, 'Unauthorized', 'The client could not be authenticated.'],
  refresh_invalid: [401, 'Unauthorized', 'The refresh token is not valid.'],
  refresh_expired: [401, 'Unauthorized', 'The refresh token has expired.'],
  refresh_superseded: [401, 'Unauthorized', 'The refresh token was just exchanged by a parallel request: use its successor.'],
  invalid_code: [401, 'Unauthorized', 'The code is wrong, or was used before.'],
  mfa_token_invalid: [401, 'Unauthorized', 'The login was not finished in time, or was finished already: log in again.'],
  reauthentication_required: [401, 'Unauthorized', 'Show your credentials again: POST /reauthenticate.'],
  refresh_reused: [401, 'Unauthorized', 'The refresh token was used before; the session has been ended.'],

  forbidden: [403, 'Forbidden', 'You may not do this.'],
  identity_too_large: [403, 'Forbidden', 'This account has more roles than a token can carry: ask an administrator to take some away.'],
  password_change_required: [403, 'Forbidden', 'Change your password first: POST /password/change.'],
  mfa_required: [403, 'Forbidden', 'This needs a second factor: set one up with POST /mfa/totp, then log in with it.'],
  registration_closed: [403, 'Forbidden', 'Registration is closed.'],

  route_not_found: [404, 'Not Found', 'No route matches this request.'],
  not_found: [404, 'Not Found', 'There is nothing of this name or id here.'],
  method_not_allowed: [405, 'Method Not Allowed', 'The route does not accept this method.'],
  request_timeout: [408, 'Request Timeout', 'The request was not received in time.'],
  username_taken: [409, 'Conflict', 'The username is taken.'],
  email_taken: [409, 'Conflict', 'The e-mail address is taken.'],
  mfa_already_enabled: [409, 'Conflict', 'A second factor is set up already: disable it first.'],
  mfa_not_enabled: [409, 'Conflict', 'No second factor is set up.'],
  last_admin: [409, 'Conflict', 'This is the last admin: make another one first.'],
  limit_reached: [409, 'Conflict', 'There are as many of these as there may be: remove one first.'],
  body_too_large: [413, 'Content Too Large', 'The body is larger than this route accepts.'],
  target_too_long: [414, 'URI Too Long', 'The request target is too long.'],
  content_type_unsupported: [415, 'Unsupported Media Type', 'Send the body as application/json.'],
  expectation_failed: [417, 'Expectation Failed', 'The only expectation that is understood is 100-continue.'],
  validation_failed: [422, 'Unprocessable Content', 'The body does not have the expected form.'],
  upgrade_required: [426, 'Upgrade Required', 'This route speaks WebSocket version 13 only.'],
  rate_limited: [429, 'Too Many Requests', 'Too many requests: wait as long as Retry-After says.'],
  streams_exceeded: [429, 'Too Many Requests', 'Too many streams are open: close one first.'],
  headers_too_large: [431, 'Request Header Fields Too Large', 'The header section is too large.'],

  internal: [500, 'Internal Server Error', 'Something went wrong here. The request id names it in our log.'],
  upstream_unreachable: [502, 'Bad Gateway', 'The service behind this route cannot be reached.'],
  upstream_invalid: [502, 'Bad Gateway', 'The service behind this route gave an invalid answer.'],
  unavailable: [503, 'Service Unavailable', 'A part of this service is not available at the moment.'],
  overloaded: [503, 'Service Unavailable', 'This service is busy at the moment.'],
  upstream_timeout: [504, 'Gateway Timeout', 'The service behind this route did not answer in time.'],
} as const satisfies Record<string, readonly [status: number, title: string, detail: string]>

export type ErrorCode = keyof typeof catalogue

const INVALID_TOKEN = { 'www-authenticate': 'Bearer error="invalid_token"' }
/** RFC 6750 §3: the challenge that each response with this code carries. */
const CHALLENGES: Partial<Record<ErrorCode, Record<string, string>>> = {
  token_missing: { 'www-authenticate': 'Bearer' },
  token_invalid: INVALID_TOKEN,
  token_expired: INVALID_TOKEN,
  token_revoked: INVALID_TOKEN,
  // RFC 6749 §5.2
  invalid_client: { 'www-authenticate': 'Basic realm="clients"' },
}

export interface FieldError {
  field: string
  detail: string
}

export interface ProblemOptions {
  /** For the client, instead of the catalogue's sentence. Contains no internal names. */
  detail?: string
  /** For the log only. */
  cause?: unknown
  errors?: FieldError[]
  headers?: Record<string, string>
}

/** The only error that is thrown on purpose. The error handler treats every other error as a bug and answers `internal`. */
export class Problem extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly title: string
  readonly detail: string
  readonly errors: FieldError[] | undefined
  readonly headers: Record<string, string>

  constructor(code: ErrorCode, { detail, cause, errors, headers = {} }: ProblemOptions = {}) {
    const [status, title, standard] = catalogue[code]
    super(detail ?? standard, { cause })
    this.code = code
    this.status = status
    this.title = title
    this.detail = detail ?? standard
    this.errors = errors
    this.headers = { ...CHALLENGES[code], ...headers }
  }
}

/** `throw problem('invalid_credentials', { cause: 'unknown user' })` */
export const problem = (code: ErrorCode, options?: ProblemOptions): Problem => new Problem(code, options)

/** 503 with the seconds after which a client should try again. */
export const unavailable = (cause: unknown, retryAfterSeconds = 1): Problem =>
  problem('unavailable', { cause, headers: { 'retry-after': String(retryAfterSeconds) } })

export interface ProblemBody {
  type: string
  title: string
  status: number
  code: ErrorCode
  detail: string
  request_id: string
  timestamp: string
  errors?: FieldError[]
}

/** RFC 9457 body. `type` is about:blank, because `code` already identifies the problem. */
export function problemBody(error: Problem, requestId: string, now: number): ProblemBody {
  const { title, status, code, detail, errors } = error
  const body: ProblemBody = {
    type: 'about:blank',
    title,
    status,
    code,
    detail,
    request_id: requestId,
    timestamp: new Date(now).toISOString(),
  }
  return errors ? { ...body, errors } : body
}

/** The text of an error for a log line: its message, then the messages of its causes. Without stack and payload. */
export function causeText(error: unknown): string {
  const parts: string[] = []
  for (let e = error, depth = 0; e !== undefined && e !== null && depth < 5; depth++) {
    if (!(e instanceof Error)) {
      parts.push(String(e))
      break
    }
    const code = 'code' in e && typeof e.code === 'string' && !(e instanceof Problem) ? `${e.code} ` : ''
    const inner = e instanceof AggregateError ? e.errors.map((x) => (x instanceof Error ? x.message : String(x))).join('; ') : ''
    const part = `${code}${e.message || inner || e.name}`
    if (!parts.includes(part)) parts.push(part)
    e = e.cause
  }
  return parts.join(': ')
}

/** A file system error without system call and path: `ENOENT: no such file or directory`. */
export const fileErrorText = (error: unknown): string => (error instanceof Error ? error.message.split(', ')[0]! : String(error))

/** Every code with its status and standard sentence, for documentation. */
export const errorCatalogue = (): { code: ErrorCode; status: number; detail: string }[] =>
  Object.entries(catalogue).map(([code, [status, , detail]]) => ({ code: code as ErrorCode, status, detail }))
