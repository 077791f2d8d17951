/** The document is OpenAPI 3.1 by the rules of its specification. */
import { Validator } from '@seriousme/openapi-schema-validator'
import { beforeAll, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'

const gateway = useGateway({
  config: {
    server: { publicUrl: 'https://api.example.com' },
    docs: { enabled: true },
    auth: { browser: { enabled: true }, passkeys: { enabled: true }, emailLogin: 'on', proofOfWork: { enabled: true } },
  },
})
let document: any
beforeAll(async () => {
  document = (await call(gateway, '/auth/openapi.json')).body
})

/** Every object in the document, with its place. */
function* objectsOf(value: unknown, place = '#'): Generator<[string, Record<string, unknown>]> {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) yield [place, value as Record<string, unknown>]
  for (const [key, item] of Object.entries(value)) yield* objectsOf(item, `${place}/${key}`)
}

it('is valid', async () => {
  const validator = new Validator()
  expect(await validator.validate(structuredClone(document))).toEqual({ valid: true })
  expect(validator.version).toBe('3.1')
  expect(document.openapi).toBe('3.1.1')
})

it('a damaged document is not valid', async () => {
  const damaged = structuredClone(document)
  delete damaged.paths['/auth/login'].post.responses['200'].description
  expect(await new Validator().validate(damaged)).toMatchObject({ valid: false })
})

it('holds nothing of OpenAPI 3.0, and nothing of our own', () => {
  for (const [place, object] of objectsOf(document.paths)) {
    expect(object, place).not.toHaveProperty('nullable')
    expect(object, place).not.toHaveProperty('documented')
    if ('exclusiveMinimum' in object) expect(object.exclusiveMinimum, place).toBeTypeOf('number')
  }
  expect(document.components.schemas.User.properties.username).toEqual({ type: ['string', 'null'] })
  expect(document.components.schemas.User.properties.last_login_at).toEqual({ type: ['string', 'null'], format: 'date-time' })
  expect(document.components.schemas.User.properties.id).toEqual({ type: 'string', format: 'uuid' })
})

it('names the fields of responses', () => {
  const { responses } = document.paths['/auth/sessions'].get
  expect(Object.keys(responses['200'].headers)).toEqual(['X-Request-Id', 'RateLimit', 'RateLimit-Policy'])
  expect(responses['401'].headers).toHaveProperty('WWW-Authenticate')
  expect(responses['429'].headers).toHaveProperty('Retry-After')
  expect(document.paths['/auth/login'].post.responses['200'].headers).toHaveProperty('Set-Cookie')
})

it('names the session cookie as the scheme of the public URL asks for it', () => {
  expect(document.components.securitySchemes.cookie.name).toBe('__Host-portcullis')
})

it('forms of OAuth are forms, with what they need', () => {
  const { content, required } = document.paths['/auth/token'].post.requestBody
  const form = content['application/x-www-form-urlencoded'].schema
  expect(required).toBe(true)
  expect(form.required).toEqual(['grant_type'])
  expect(form.properties.grant_type).toEqual({ type: 'string', const: 'client_credentials' })
})
