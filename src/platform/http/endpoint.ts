/** What every endpoint of our own needs: strict bodies, documented answers. */
import { type TProperties, type TSchema, Type } from 'typebox'
import { problem } from '../lib/errors.ts'
import { isId } from '../lib/ids.ts'

/** Unknown fields are refused, nothing is coerced. */
export const strictBody = <P extends TProperties>(properties: P) => Type.Object(properties, { additionalProperties: false })

/** Of endpoints that want an access token. */
export const BEARER = [{ bearer: [] }]

const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  code: Type.String(),
  detail: Type.String(),
  request_id: Type.String(),
  timestamp: Type.String(),
  errors: Type.Optional(Type.Array(Type.Object({ field: Type.String(), detail: Type.String() }))),
})

/** Success schemas, and the statuses that carry a problem document. */
export const answers = <S extends Record<number, TSchema>>(success: S, problems: readonly number[]) =>
  ({ ...success, ...Object.fromEntries(problems.map((status) => [status, ProblemSchema])) }) as S

/** A page of at most 200, 50 when nothing is said. Queries are text: nothing is coerced. */
export const Limit = Type.Optional(
  Type.String({ pattern: '^([1-9]\\d?|1\\d\\d|200)$', description: '1 to 200; 50 unless told otherwise.' }),
)
export const limitOf = ({ limit = '50' }: { limit?: string }): number => Number(limit)

/** A text that is looked for in the database, which knows no NUL. */
export const Term = (maxLength: number, description = '') => Type.String({ maxLength, pattern: '^[^\\0]+$', description })

/** An id out of a path. @throws not_found for what cannot be one */
export function requireId(id: string): string {
  if (!isId(id)) throw problem('not_found')
  return id
}
