import { describe, expect, it } from 'vitest'
import { DatabaseUnavailable, unavailableText } from '../../../src/platform/db/unavailable.ts'
import { causeText, detailOf, type FieldError, invalidField, type Problem, problem, problemBody } from '../../../src/platform/lib/errors.ts'
import { type SchemaError, schemaFieldError, schemaFieldErrors } from '../../../src/platform/lib/schema-field-error.ts'

const wrong = (...fields: string[]) =>
  problem('validation_failed', { errors: fields.map((field): FieldError => ({ field, code: 'required', detail: 'is missing' })) })

describe('the detail of wrong fields', () => {
  it.each<[string, Problem, string]>([
    ['a password', invalidField('password', 'too_common', 'is too common'), 'The password is too common.'],
    ['a new password', invalidField('new_password', 'too_short', 'is too short'), 'The new password is too short.'],
    ['the whole body', invalidField('body', 'type', 'must be an object'), 'The body must be an object.'],
    ['any other field', wrong('email'), 'The field email is missing.'],
    ['a field inside another', wrong('jwks.keys.0'), 'The field jwks.keys.0 is missing.'],
    ['one field with two faults', wrong('email', 'email'), 'The field email is missing.'],
    ['two fields', wrong('email', 'username'), 'Several fields are wrong: email, username. Correct the fields in errors.'],
    [
      'many fields',
      wrong('a', 'b', 'c', 'd', 'e', 'f', 'g'),
      'Several fields are wrong: a, b, c, d, e and 2 more. Correct the fields in errors.',
    ],
    ['a long name', wrong('x'.repeat(65)), `The field ${'x'.repeat(64)}… is missing.`],
    ['no fields', problem('validation_failed'), 'The request does not have the expected form. Correct the fields in errors.'],
  ])('%s', (_, error, detail) => {
    expect(error.detail).toBe(detail)
  })

  it('is for the client only: names of fields may be invented, and the message goes to the log', () => {
    expect(wrong('hunter2').message).toBe('The request does not have the expected form. Correct the fields in errors.')
  })
})

describe('a detail that names an endpoint', () => {
  const error = problem('password_change_required')

  it('has the prefix of the endpoints', () => {
    expect(detailOf(error, '/accounts/v1')).toBe('Change your password first: POST /accounts/v1/password/change.')
    expect(problemBody(error, 'id', 0, '/$&').detail).toBe('Change your password first: POST /$&/password/change.')
  })

  it('has no placeholder in the log', () => {
    expect(error.message).toBe('Change your password first: POST /password/change.')
  })
})

describe('an error of a schema', () => {
  it.each([
    ['required', { missingProperty: 'email' }, 'user.email', 'required', 'is missing'],
    ['additionalProperties', { additionalProperty: 'admin' }, 'user.admin', 'unknown', 'is not known here'],
    ['type', { type: 'string' }, 'user', 'type', 'must be a string'],
    ['type', { type: 'array' }, 'user', 'type', 'must be an array'],
    ['minLength', { limit: 1 }, 'user', 'too_short', 'must have at least 1 character'],
    ['maxLength', { limit: 64 }, 'user', 'too_long', 'must have at most 64 characters'],
    ['minItems', { limit: 1 }, 'user', 'too_few', 'must have at least 1 item'],
    ['maxItems', { limit: 8 }, 'user', 'too_many', 'must have at most 8 items'],
    ['minProperties', { limit: 1 }, 'user', 'too_few', 'must have at least 1 field'],
    ['uniqueItems', { i: 0, j: 1 }, 'user', 'repeated', 'must not have the same item twice'],
    ['enum', { allowedValues: ['true', 'false'] }, 'user', 'not_allowed', 'must be true or false'],
    ['pattern', { pattern: '^a' }, 'user', 'format', 'must match the pattern ^a'],
    ['anyOf', {}, 'user', 'format', 'must match a schema'],
  ])('%s %o', (keyword, params, field, code, detail) => {
    const error = { keyword, params, instancePath: '/user', message: 'must match a schema' }
    expect(schemaFieldError(error, 'body')).toEqual({ field, code, detail })
  })

  it('of the whole value has the name of the whole', () => {
    const error = { keyword: 'type', params: { type: 'object' }, instancePath: '' }
    expect(schemaFieldError(error, 'body').field).toBe('body')
    expect(schemaFieldError({ ...error, keyword: 'required', params: { missingProperty: 'email' } }, 'body').field).toBe('email')
  })
})

describe('the errors of a schema', () => {
  const unknown = (i: number) => ({ keyword: 'additionalProperties', params: { additionalProperty: `x${i}` }, instancePath: '' })
  const missing = (i: number) => ({ keyword: 'required', params: { missingProperty: `y${i}` }, instancePath: '' })
  const many = (n: number, one: (i: number) => SchemaError) => Array.from({ length: n }, (_, i) => one(i))

  it('name up to five unknown fields one by one', () => {
    expect(schemaFieldErrors(many(5, unknown), 'body').map(({ field }) => field)).toEqual(['x0', 'x1', 'x2', 'x3', 'x4'])
  })

  it('count more unknown fields in one entry, beside the other errors', () => {
    expect(schemaFieldErrors([...many(6, unknown), missing(0)], 'body')).toEqual([
      { field: 'y0', code: 'required', detail: 'is missing' },
      { field: 'body', code: 'unknown', detail: 'has 6 fields that are not known here' },
    ])
  })

  it('are at most twenty', () => {
    expect(schemaFieldErrors(many(500, missing), 'body')).toHaveLength(20)
    expect(schemaFieldErrors([...many(500, missing), ...many(500, unknown)], 'body')).toHaveLength(20)
  })
})

describe('an error of the system', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED', address: '127.0.0.1', port: 1 })

  it('its code is written once', () => {
    expect(causeText(refused)).toBe('connect ECONNREFUSED 127.0.0.1:1')
    expect(causeText(Object.assign(new Error('bad password'), { code: '28P01' }))).toBe('28P01 bad password')
  })

  it('a database that does not answer is named with its address and what to do', () => {
    expect(unavailableText(new DatabaseUnavailable(refused))).toBe(
      'the database at 127.0.0.1:1 does not answer (ECONNREFUSED): start it, or correct DATABASE_URL',
    )
    const both = Object.assign(new AggregateError([refused]), { code: 'ECONNREFUSED' })
    expect(unavailableText(new DatabaseUnavailable(both))).toContain('at 127.0.0.1:1 does not answer (ECONNREFUSED)')
    expect(unavailableText(new DatabaseUnavailable(new Error('the database is closed')))).toBe(
      'the database is not available: the database is closed',
    )
  })
})
