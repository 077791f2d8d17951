/**
 * The catalogue of all error codes. A failure has the same code in the response, in the log's `reason`, in the metric's label and in
 * docs/errors.md. The client reads `detail`; only the log shows `cause`. error-guide.ts says when each code occurs and what to do.
 */
const catalogue = {
  json_invalid: [400, 'Bad Request', 'The body is not valid JSON. Send valid JSON.'],
  target_ambiguous: [400, 'Bad Request', 'The request target can be read in more than one way. Send a plain path.'],
  header_invalid: [400, 'Bad Request', 'A header is missing, repeated or malformed. Send each header once and in its standard form.'],
  request_malformed: [400, 'Bad Request', 'The request is not valid HTTP/1.1. Check the program that sends it.'],
  upgrade_unsupported: [400, 'Bad Request', 'A WebSocket handshake is a GET. Send a GET, or leave the header Upgrade out.'],
  link_invalid: [400, 'Bad Request', 'The link is not valid, was used before, or has expired: ask for a new link.'],
  flow_invalid: [400, 'Bad Request', 'The sign-in was not finished in time, or in another browser: begin again.'],
  invitation_invalid: [400, 'Bad Request', 'The invitation is not valid, was used before, or has expired: ask for a new invitation.'],
  logout_token_invalid: [400, 'Bad Request', 'The logout token is not valid. Send a logout token of OpenID Connect once.'],
  invalid_request: [400, 'Bad Request', 'A parameter is missing, repeated or malformed. Send each parameter once.'],
  invalid_scope: [400, 'Bad Request', 'The client may not have this scope. Ask only for scopes that were granted to the client.'],
  unsupported_grant_type: [400, 'Bad Request', 'This grant_type is not supported. Send grant_type=client_credentials.'],

  token_missing: [401, 'Unauthorized', 'This route needs an access token: send Authorization: Bearer <token>.'],
  token_invalid: [401, 'Unauthorized', 'The access token is not valid. Log in again.'],
  token_expired: [401, 'Unauthorized', 'The access token has expired. Refresh it, or log in again.'],
  token_revoked: [401, 'Unauthorized', 'The access token has been revoked. Log in again.'],
  invalid_credentials: [401, 'Unauthorized', 'The login or the password is wrong. Check both.'],
  provider_refused: [401, 'Unauthorized', 'The provider did not confirm the sign-in. Begin again, or log in in another way.'],
  passkey_refused: [401, 'Unauthorized', 'The passkey was not accepted. Begin again, or log in in another way.'],
  invalid_client: [401, 'Unauthorized', 'The client could not be authenticated. Check its id and its credential.'],
  refresh_invalid: [401, 'Unauthorized', 'The refresh token is not valid. Log in again.'],
  refresh_expired: [401, 'Unauthorized', 'The refresh token has expired. Log in again.'],
  refresh_superseded: [401, 'Unauthorized', 'The refresh token was just exchanged by a parallel request: use its successor.'],
  invalid_code: [401, 'Unauthorized', 'The code is wrong, or was used before. Enter the current code.'],
  mfa_token_invalid: [401, 'Unauthorized', 'The login was not finished in time, or was finished already: log in again.'],
  reauthentication_required: [401, 'Unauthorized', 'Show your credentials again: POST {auth}/reauthenticate.'],
  refresh_reused: [401, 'Unauthorized', 'The refresh token was used before, and the session has been ended. Log in again.'],

  forbidden: [403, 'Forbidden', 'You may not do this. Ask the operator of this service for access.'],
  identity_too_large: [403, 'Forbidden', 'This account has more roles than a token can carry: ask an administrator to remove some.'],
  password_change_required: [403, 'Forbidden', 'Change your password first: POST {auth}/password/change.'],
  mfa_required: [403, 'Forbidden', 'This needs a second factor: set it up with POST {auth}/mfa/totp, then log in with it.'],
  email_confirmation_required: [403, 'Forbidden', 'Open the link that was mailed to you, then log in again.'],
  country_refused: [403, 'Forbidden', 'This is not available from your country. Ask the operator of this service for access.'],
  origin_untrusted: [403, 'Forbidden', 'The request came from another site. Open the page of this service, and try again there.'],
  proxy_headers_invalid: [
    403,
    'Forbidden',
    'The proxy did not say once and clearly which request it asks about. Correct its configuration.',
  ],
  proof_of_work_required: [
    403,
    'Forbidden',
    'This needs a proof of work. Get a challenge from GET {auth}/challenge, and send its solution as proof_of_work.',
  ],
  email_unproven: [403, 'Forbidden', 'The provider does not prove your e-mail address. Register with the address, then link this login.'],
  registration_closed: [403, 'Forbidden', 'Registration is closed. Ask an administrator for an account.'],

  route_not_found: [404, 'Not Found', 'No route matches this request. Check its host and its path.'],
  not_found: [404, 'Not Found', 'There is nothing with this name or id. Check it.'],
  method_not_allowed: [405, 'Method Not Allowed', 'The route does not accept this method. Use a method that the header Allow names.'],
  request_timeout: [408, 'Request Timeout', 'The request was not received in time. Send it again.'],
  username_taken: [409, 'Conflict', 'The username is taken. Choose another username.'],
  email_taken: [409, 'Conflict', 'The e-mail address is taken. Log in, or use another address.'],
  already_linked: [409, 'Conflict', 'This login belongs to another account, or your account has another login of this provider.'],
  last_credential: [409, 'Conflict', 'This is the last way to log in: set a password, or add another login or passkey first.'],
  passkey_exists: [409, 'Conflict', 'This device has a passkey of your account already. Use it, or choose another device.'],
  mfa_already_enabled: [409, 'Conflict', 'A second factor is set up already: disable it first.'],
  mfa_not_enabled: [409, 'Conflict', 'No second factor is set up. Set it up with POST {auth}/mfa/totp.'],
  last_admin: [409, 'Conflict', 'This is the last admin: make another user an admin first.'],
  limit_reached: [409, 'Conflict', 'The largest number of these is reached: remove one first.'],
  body_too_large: [413, 'Content Too Large', 'The body is larger than this route accepts. Send a smaller body.'],
  target_too_long: [414, 'URI Too Long', 'The request target is too long. Shorten the path or the query.'],
  content_type_unsupported: [415, 'Unsupported Media Type', 'Send the body as application/json.'],
  expectation_failed: [
    417,
    'Expectation Failed',
    'The header Expect may only be 100-continue. Send 100-continue, or leave the header out.',
  ],
  validation_failed: [422, 'Unprocessable Content', 'The request does not have the expected form. Correct the fields in errors.'],
  upgrade_required: [426, 'Upgrade Required', 'This route speaks only WebSocket version 13. Send Sec-WebSocket-Version: 13.'],
  rate_limited: [429, 'Too Many Requests', 'Too many requests: wait as long as Retry-After says.'],
  streams_exceeded: [429, 'Too Many Requests', 'Too many streams are open: close a stream first.'],
  headers_too_large: [431, 'Request Header Fields Too Large', 'The header section is too large. Send fewer or shorter headers.'],

  internal: [500, 'Internal Server Error', 'An unexpected error occurred here. Report the request id: our log has the error under it.'],
  transfer_coding_unsupported: [
    501,
    'Not Implemented',
    'The only transfer coding is chunked. Send Transfer-Encoding: chunked, or a length.',
  ],
  upstream_unreachable: [502, 'Bad Gateway', 'The service behind this route cannot be reached. Try again later.'],
  upstream_invalid: [502, 'Bad Gateway', 'The service behind this route gave an invalid answer. Report the request id.'],
  unavailable: [503, 'Service Unavailable', 'A part of this service is not available now. Try again after Retry-After.'],
  provider_unavailable: [
    503,
    'Service Unavailable',
    'The provider does not answer now. Log in in another way, or try again after Retry-After.',
  ],
  issuer_unavailable: [
    503,
    'Service Unavailable',
    'The issuer of this token cannot be asked for its keys now. Try again after Retry-After.',
  ],
  overloaded: [503, 'Service Unavailable', 'This service is busy now. Try again after Retry-After.'],
  upstream_timeout: [504, 'Gateway Timeout', 'The service behind this route did not answer in time. Try again later.'],
} as const satisfies Record<string, readonly [status: number, title: string, detail: string]>

export type ErrorCode = keyof typeof catalogue

/** Stands for `auth.prefix` in the sentences above. */
const AUTH_PREFIX = '{auth}'

/** Why a field is refused, for apps that translate the reason. Clients depend on these codes: a code never changes its meaning. */
export const FIELD_CODES = [
  'required',
  'unknown',
  'type',
  'format',
  'too_short',
  'too_long',
  'too_few',
  'too_many',
  'not_allowed',
  'repeated',
  'in_past',
  'in_future',
  'taken',
  'unknown_role',
  'private_key',
  'unsupported_key',
  'too_common',
  'contains_name',
  'breached',
  'same_as_current',
] as const
export type FieldCode = (typeof FIELD_CODES)[number]

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
  code: FieldCode
  /** The predicate of a sentence whose subject is the field: `must be an e-mail address`. */
  detail: string
}

export interface ProblemOptions {
  /** For the client, instead of the catalogue's sentence. Contains no internal names. */
  detail?: string
  /** For the log only. */
  cause?: unknown
  errors?: FieldError[]
  headers?: Record<string, string>
  /** The upstream is the reason, for metrics: the gateway itself has not failed. Default: false. */
  isOfUpstream?: boolean
}

/** The only error that is thrown on purpose. The error handler treats every other error as a bug and answers `internal`. */
export class Problem extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly title: string
  readonly detail: string
  readonly errors: FieldError[] | undefined
  readonly headers: Record<string, string>
  readonly isOfUpstream: boolean

  constructor(code: ErrorCode, { detail, cause, errors, headers = {}, isOfUpstream = false }: ProblemOptions = {}) {
    const [status, title, standard] = catalogue[code]
    // the log gets no name of a field, because the client may have invented it
    super((detail ?? standard).replaceAll(AUTH_PREFIX, ''), { cause })
    this.code = code
    this.status = status
    this.title = title
    this.detail = detail ?? (errors?.length ? sentenceOf(errors) : standard)
    this.errors = errors
    this.headers = { ...CHALLENGES[code], ...headers }
    this.isOfUpstream = isOfUpstream
  }
}

/** `throw problem('invalid_credentials', { cause: 'unknown user' })` */
export const problem = (code: ErrorCode, options?: ProblemOptions): Problem => new Problem(code, options)

/** `throw invalidField('name', 'taken', 'is taken')` */
export const invalidField = (field: string, code: FieldCode, detail: string): Problem =>
  problem('validation_failed', { errors: [{ field, code, detail }] })

const MAX_SHOWN_FIELDS = 5
const MAX_SHOWN_NAME = 64

/** `The new password is too common: attackers try it first.` */
function sentenceOf(errors: readonly FieldError[]): string {
  const [first] = errors
  const fields = [...new Set(errors.map(({ field }) => field))]
  if (fields.length === 1) return `${subjectOf(first!.field)} ${first!.detail}.`
  const shown = fields.slice(0, MAX_SHOWN_FIELDS).map(shorten).join(', ')
  const rest = fields.length > MAX_SHOWN_FIELDS ? ` and ${fields.length - MAX_SHOWN_FIELDS} more` : ''
  return `Several fields are wrong: ${shown}${rest}. Correct the fields in errors.`
}

const PASSWORD = /^(?:\w+_)?password$/
const subjectOf = (field: string) =>
  field === 'body' || PASSWORD.test(field) ? `The ${field.replaceAll('_', ' ')}` : `The field ${shorten(field)}`
const shorten = (name: string) => (name.length > MAX_SHOWN_NAME ? `${name.slice(0, MAX_SHOWN_NAME)}…` : name)

/** @param authPrefix `auth.prefix`, for details that name an endpoint */
export const detailOf = ({ detail }: Problem, authPrefix: string): string => detail.replaceAll(AUTH_PREFIX, () => authPrefix)

/** Seconds, from 1: refused clients do not all retry at the same time. */
export const drawRetryAfter = (mostSeconds: number): number => 1 + Math.floor(Math.random() * mostSeconds)

/** 503 with the seconds after which a client should try again. */
export const unavailable = (cause: unknown, retryAfterSeconds = drawRetryAfter(3)): Problem =>
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
export function problemBody(error: Problem, requestId: string, now: number, authPrefix: string): ProblemBody {
  const { title, status, code, errors } = error
  const body: ProblemBody = {
    type: 'about:blank',
    title,
    status,
    code,
    detail: detailOf(error, authPrefix),
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
    const inner = e instanceof AggregateError ? e.errors.map((x) => (x instanceof Error ? x.message : String(x))).join('; ') : ''
    const text = e.message || inner || e.name
    const code = 'code' in e && typeof e.code === 'string' && !(e instanceof Problem) ? e.code : ''
    // messages of the system begin with the call: connect ECONNREFUSED 127.0.0.1:5432
    const part = !code || text.includes(code) ? text : `${code} ${text}`
    if (!parts.includes(part)) parts.push(part)
    e = e.cause
  }
  return parts.join(': ')
}

/** A file system error without system call and path: `ENOENT: no such file or directory`. */
export const fileErrorText = (error: unknown): string => (error instanceof Error ? error.message.split(', ')[0]! : String(error))

/** Every code with its status, title and standard sentence, for documentation. */
export const errorCatalogue = (): { code: ErrorCode; status: number; title: string; detail: string }[] =>
  Object.entries(catalogue).map(([code, [status, title, detail]]) => ({
    code: code as ErrorCode,
    status,
    title,
    detail: detail.replaceAll(AUTH_PREFIX, '/auth'),
  }))
