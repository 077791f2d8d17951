/** Shared parts of the gateway's own endpoints: strict bodies, documented responses. */
import { type TProperties, type TSchema, type TSchemaOptions, Type } from 'typebox'
import { errorCatalogue, FIELD_CODES, problem } from '../lib/errors.ts'
import { isId } from '../lib/ids.ts'

/** Unknown fields are refused, nothing is coerced. */
export const strictBody = <P extends TProperties>(properties: P) => Type.Object(properties, { additionalProperties: false })

/** The OpenAPI security of endpoints that need an access token. */
export const BEARER = [{ bearer: [] }]

/** The OpenAPI security of endpoints that take an access token, or proof in the body. */
export const OPTIONAL_BEARER = [{}, ...BEARER]

/** The OpenAPI security of endpoints for everybody. An empty list says so; without a list, the document leaves it open. */
export const NO_CREDENTIAL = []

/** The last sentence of the description of each endpoint for administrators. */
export const NEEDS_ADMIN = 'Needs an access token of a user with the role `admin`.'

/** The same for each endpoint that changes something. It is under the step-up rule. */
export const NEEDS_RECENT_ADMIN = `${NEEDS_ADMIN} The login may be at most \`auth.admin.maxAuthAgeSeconds\` old.`

/** The last sentence of the description of each endpoint under the step-up rule that takes a password or a code in its body. */
export const NEEDS_STEP_UP =
  "Needs a user's access token of a login within 5 minutes; otherwise the password, or a code where a second factor is set up."

/**
 * Adds keywords of JSON Schema for the OpenAPI document alone. A service checks them itself, and refuses with its own words or with another
 * status.
 */
export const documented = <S extends TSchema>(schema: S, keywords: Record<string, unknown>): S => ({ ...schema, documented: keywords })

/** RFC 3339, in answers. */
export const Timestamp = Type.String({ format: 'date-time' })
/** The id of something of ours, in answers. */
export const Id = Type.String({ format: 'uuid' })
/** The same in a path: another text finds nothing. */
export const PathId = documented(Type.String(), { format: 'uuid' })
export const OrNull = <S extends TSchema>(schema: S, options: TSchemaOptions = {}) => Type.Union([schema, Type.Null()], options)

/** RFC 9457. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri-reference', description: 'Always about:blank: `code` names the problem.' }),
    title: Type.String({ description: 'The reason phrase of the status.' }),
    status: Type.Integer(),
    code: Type.Enum(
      errorCatalogue().map(({ code }) => code),
      { title: 'ErrorCode' },
    ),
    detail: Type.String({ description: 'For people. It may change.' }),
    request_id: Type.String({ description: 'The id under which the log has the request.' }),
    timestamp: Timestamp,
    errors: Type.Optional(
      Type.Array(
        Type.Object(
          { field: Type.String(), code: Type.Enum([...FIELD_CODES], { title: 'FieldErrorCode' }), detail: Type.String() },
          { title: 'FieldError' },
        ),
      ),
    ),
  },
  { title: 'Problem' },
)

/** Response schemas: those of success, and a problem document for each of the error statuses. */
export const answers = <S extends Record<number, TSchema>>(success: S, problems: readonly number[]) =>
  ({ ...success, ...Object.fromEntries(problems.map((status) => [status, ProblemSchema])) }) as S

/** The size of a page: at most 200, by default 50. Queries are text: nothing is coerced. */
export const Limit = Type.Optional(Type.String({ pattern: '^([1-9]\\d?|1\\d\\d|200)$', description: '1 to 200; the default is 50.' }))
export const limitOf = ({ limit = '50' }: { limit?: string }): number => Number(limit)

/** A search term for the database, which cannot store NUL. */
export const Term = (maxLength: number, description = '') => Type.String({ maxLength, pattern: '^[^\\u0000]+$', description })

/** Checks an id from a path. @throws not_found for a text that cannot be an id */
export function requireId(id: string): string {
  if (!isId(id)) throw problem('not_found')
  return id
}
