/** Explains an error of a JSON schema validator as an error of one field. */
import type { FieldCode, FieldError } from './errors.ts'

/** The members of Ajv's error that are read here. */
export interface SchemaError {
  keyword: string
  instancePath: string
  params: Record<string, unknown>
  message?: string
}

const CODES: Record<string, FieldCode> = {
  required: 'required',
  additionalProperties: 'unknown',
  type: 'type',
  minLength: 'too_short',
  maxLength: 'too_long',
  minItems: 'too_few',
  minProperties: 'too_few',
  maxItems: 'too_many',
  enum: 'not_allowed',
  uniqueItems: 'repeated',
}

/** Unknown fields that are named one by one. More of them are one entry. */
const MAX_UNKNOWN = 5
const MAX_ENTRIES = 20

/** The errors of one value. Their number is bounded, however many fields the client sent. */
export function schemaFieldErrors(errors: readonly SchemaError[], whole: string): FieldError[] {
  const unknown = errors.filter(({ keyword }) => keyword === 'additionalProperties')
  if (unknown.length <= MAX_UNKNOWN) return errors.slice(0, MAX_ENTRIES).map((error) => schemaFieldError(error, whole))
  const others = errors.filter(({ keyword }) => keyword !== 'additionalProperties').slice(0, MAX_ENTRIES - 1)
  const summary: FieldError = { field: whole, code: 'unknown', detail: `has ${unknown.length} fields that are not known here` }
  return [...others.map((error) => schemaFieldError(error, whole)), summary]
}

/**
 * `/email` must be string → `{ field: 'email', code: 'type', detail: 'must be a string' }`. Names the field, never its value.
 * @param whole the name of the whole value
 */
export function schemaFieldError(error: SchemaError, whole: string): FieldError {
  const { keyword, instancePath, params } = error
  const inside = instancePath.split('/').slice(1)
  const named = keyword === 'required' ? params.missingProperty : keyword === 'additionalProperties' ? params.additionalProperty : null
  const path = typeof named === 'string' ? [...inside, named] : inside
  return { field: path.join('.') || whole, code: CODES[keyword] ?? 'format', detail: detailOf(error) }
}

function detailOf({ keyword, params, message = 'is not valid' }: SchemaError): string {
  switch (keyword) {
    case 'required':
      return 'is missing'
    case 'additionalProperties':
      return 'is not known here'
    case 'type':
      return `must be ${/^[aeiou]/.test(String(params.type)) ? 'an' : 'a'} ${params.type}`
    case 'minLength':
      return `must have at least ${counted(params.limit, 'character')}`
    case 'maxLength':
      return `must have at most ${counted(params.limit, 'character')}`
    case 'minItems':
      return `must have at least ${counted(params.limit, 'item')}`
    case 'maxItems':
      return `must have at most ${counted(params.limit, 'item')}`
    case 'minProperties':
      return `must have at least ${counted(params.limit, 'field')}`
    case 'uniqueItems':
      return 'must not have the same item twice'
    case 'enum':
      return `must be ${(params.allowedValues as unknown[]).join(' or ')}`
    case 'pattern':
      return `must match the pattern ${params.pattern}`
    default:
      return message
  }
}

const counted = (limit: unknown, noun: string) => `${limit} ${noun}${limit === 1 ? '' : 's'}`
