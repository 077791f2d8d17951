/** Turns every error into one problem document, or one OAuth error. No other code turns an error into a response. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { setFields } from '../platform/http/fields.ts'
import { oauthError } from '../platform/http/oauth-error.ts'
import type { Clock } from '../platform/lib/clock.ts'
import { type ErrorCode, Problem, problem, problemBody } from '../platform/lib/errors.ts'
import { schemaFieldErrors } from '../platform/lib/schema-field-error.ts'
import { limitHeaders } from '../platform/limits/limiter.ts'
import { linger } from '../platform/request/drain.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import type { Cors } from '../proxy/cors.ts'
import { type Exchange, exchangeOf } from '../proxy/routing/exchange.ts'
import type { AnswerNavigation, NavigationAnswer } from './answer-navigation.ts'

const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'content_type_unsupported',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'json_invalid',
  FST_ERR_CTP_INVALID_JSON_BODY: 'json_invalid',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'header_invalid',
  FST_ERR_NOT_FOUND: 'route_not_found',
  FST_ERR_BAD_URL: 'target_ambiguous',
  FST_ERR_MAX_PARAM_LENGTH: 'target_too_long',
}

export interface ErrorHandlerDeps {
  clock: Clock
  logger: Logger
  cors: Pick<Cors, 'addToError'>
  /** `auth.prefix` */
  authPrefix: string
  /** Null without pages: every caller gets a problem document. */
  answerNavigation: AnswerNavigation | null
}

export function createErrorHandler({ clock, logger, cors, authPrefix, answerNavigation }: ErrorHandlerDeps) {
  return (error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const exchange = exchangeOf(request.raw)
    const known = toProblem(error, request)
    noteError(logger, exchange, error, known)
    cors.addToError(exchange, request.raw)
    // the rest of a refused body must not be read as a request (RFC 9112 §9.6, RFC 9110 §10.1.1)
    const isUnread = !request.raw.complete
    if (isUnread) linger(request.raw.socket)
    setFields(reply, exchange.fields).headers({
      // bytes after a refused upgrade must not be read as a request either
      ...(isUnread || exchange.isUpgrade ? { connection: 'close' } : {}),
      ...limitHeaders(exchange.decisions),
      ...known.headers,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-request-id': exchange.requestId,
    })
    const answer = answerNavigation?.(known, request.raw, exchange) ?? null
    if (answer === null) return sendProblem(known, request, reply)
    if (!(answer instanceof Promise)) return sendPage(answer, reply)
    answer.then(
      (page) => sendPage(page, reply),
      () => sendProblem(known, request, reply),
    )
    return reply
  }

  function sendProblem(known: Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { requestId } = exchangeOf(request.raw)
    const { status, type, body } = isOAuth(request)
      ? { type: 'application/json', ...oauthError(known, authPrefix) }
      : {
          status: known.status,
          type: 'application/problem+json',
          body: problemBody(known, requestId, clock.now(), authPrefix),
        }
    return reply.code(status).type(type).send(JSON.stringify(body))
  }
}

/** Keeps the error for the log line of the request. An unexpected error has a line of its own. */
export function noteError(logger: Logger, exchange: Exchange, error: Error, known: Problem): void {
  exchange.error = known
  if (known.code !== 'internal') return
  const err = { type: error.name, message: error.message, stack: error.stack }
  logger.error({ reason: 'internal', request_id: exchange.requestId, err }, 'unexpected error')
}

function sendPage({ status, headers, without, body }: NavigationAnswer, reply: FastifyReply): FastifyReply {
  const vary = [reply.getHeader('vary'), headers.vary].filter(Boolean).join(', ')
  for (const name of without) reply.removeHeader(name)
  return reply
    .code(status)
    .headers({ ...headers, vary })
    .send(body)
}

/** Endpoints with `errors: 'oauth'` in their `config` answer failures in the form of RFC 6749. */
const isOAuth = ({ routeOptions }: FastifyRequest): boolean =>
  (routeOptions?.config as { errors?: 'oauth' } | undefined)?.errors === 'oauth'

/** Whatever was thrown in a request, as an error of the catalogue. */
export function toProblem(error: FastifyError | Error, request: FastifyRequest): Problem {
  if (error instanceof Problem) return error
  const { validation, code = '', statusCode } = error as FastifyError
  if (validation) return problem('validation_failed', { errors: schemaFieldErrors(validation, 'body') })
  const named = FASTIFY_CODES[code]
  if (named) return problem(named, { cause: error })
  if (statusCode === 400 && error instanceof SyntaxError) return problem('json_invalid', { cause: error })
  // the client's connection broke, not another
  if (error === request.raw.errored) return problem('request_malformed', { cause: error })
  return problem('internal', { cause: error })
}
