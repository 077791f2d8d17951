import { readFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import { errorCatalogue } from '../../../src/platform/lib/errors.ts'
import { call } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'

const packageJson = JSON.parse(readFileSync('package.json', 'utf8'))
const PUBLIC_URL = 'https://api.example.com'
const gateway = useGateway({
  config: {
    server: { publicUrl: PUBLIC_URL },
    docs: { enabled: true },
    auth: { browser: { enabled: true }, passkeys: { enabled: true }, emailLogin: 'on', proofOfWork: { enabled: true } },
  },
})

interface Operation {
  tags: string[]
  operationId: string
  summary: string
  description: string
  security: Record<string, string[]>[]
  parameters?: { name: string; in: string; required: boolean }[]
  requestBody?: { required?: boolean; content: Record<string, unknown> }
  responses: Record<string, { description: string; content?: Record<string, { schema: { $ref?: string } }> }>
}
let document: any
let operations: [place: string, operation: Operation][]
beforeAll(async () => {
  document = (await call(gateway, '/auth/openapi.json')).body
  operations = Object.entries<any>(document.paths).flatMap(([path, methods]) =>
    Object.entries<any>(methods).map(([method, operation]): [string, Operation] => [`${method.toUpperCase()} ${path}`, operation]),
  )
})

it('every operation has a summary, one tag that is described, and an id of its own', () => {
  expect(operations.length).toBeGreaterThan(40)
  const tags = document.tags.map(({ name }: { name: string }) => name)
  expect(new Set(tags).size).toBe(tags.length)
  for (const { description } of document.tags) expect(description).toMatch(/\.$/)
  for (const [place, { tags: own, operationId, summary }] of operations) {
    expect(summary, place).toMatch(/^\S.*\S$/)
    expect(own, place).toHaveLength(1)
    expect(tags, place).toContain(own[0])
    expect(operationId, place).toMatch(/^(get|post|put|patch|delete)[A-Z][A-Za-z]+$/)
  }
  const ids = operations.map(([, { operationId }]) => operationId)
  expect(ids).toEqual(
    expect.arrayContaining(['postLogin', 'getSessions', 'deleteSession', 'postAdminClientRotateSecret', 'putAdminUserRole']),
  )
  expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([])
  expect(tags.filter((tag: string) => !operations.some(([, { tags: own }]) => own.includes(tag)))).toEqual([])
})

it('a body is required where it has a required member, and may be left out elsewhere', async () => {
  const isRequired = Object.fromEntries(
    operations.flatMap(([place, { requestBody }]) => (requestBody ? [[place, requestBody.required]] : [])),
  )
  const optional = ['POST /auth/logout', 'POST /auth/logout-all', 'DELETE /auth/me', 'POST /auth/admin/keys/rotate']
  for (const place of optional) expect([place, isRequired[place]]).toEqual([place, false])
  const required = ['POST /auth/register', 'POST /auth/login', 'PATCH /auth/me', 'POST /auth/password/reset', 'POST /auth/token']
  for (const place of required) expect([place, isRequired[place]]).toEqual([place, true])
})

it('the document says who helps, under which licence it is, and where the gateway is', () => {
  expect(document.info).toMatchObject({ contact: { url: PUBLIC_URL }, license: { name: packageJson.license, url: expect.any(String) } })
  expect(document.servers).toEqual([{ url: PUBLIC_URL }])
})

it('every operation has a description of whole sentences, which says what the caller needs', () => {
  for (const [place, { tags, summary, description, security }] of operations) {
    expect(description, place).toMatch(/^[A-Z].*\.$/)
    expect(description, place).not.toContain(summary)
    for (const sentence of description.split('. ')) expect(sentence.split(' ').length, `${place}: ${sentence}`).toBeLessThanOrEqual(25)
    const takesToken = security.some((scheme) => scheme.bearer)
    if (tags[0] !== 'OAuth') expect(/\bNeeds\b.*access token/.test(description), place).toBe(takesToken)
    if (place.includes('/auth/admin/')) expect(description, place).toContain('the role `admin`')
  }
  const descriptions = operations.map(([, { description }]) => description)
  expect(descriptions.filter((text, i) => descriptions.indexOf(text) !== i)).toEqual([])
})

it('every operation says which credentials it takes; the operations for everybody are these', () => {
  const schemes = Object.keys(document.components.securitySchemes)
  for (const [place, { security }] of operations) {
    expect(security, place).toBeInstanceOf(Array)
    for (const scheme of security) for (const name of Object.keys(scheme)) expect(schemes, place).toContain(name)
  }
  expect(operations.filter(([, { security }]) => security.length === 0).map(([place]) => place)).toEqual([
    'POST /auth/register',
    'POST /auth/login',
    'POST /auth/login/mfa',
    'POST /auth/refresh',
    'POST /auth/login/email',
    'POST /auth/login/email/verify',
    'GET /auth/providers',
    'POST /auth/providers/{id}/backchannel-logout',
    'GET /auth/invitations/{token}',
    'POST /auth/invitations/{token}',
    'POST /auth/email/verify/details',
    'POST /auth/password/forgot',
    'POST /auth/password/reset/details',
    'POST /auth/password/reset',
    'GET /auth/challenge',
    'POST /auth/login/confirm/details',
    'POST /auth/login/confirm',
  ])
})

it('a session cookie counts wherever an access token does, and nowhere else', () => {
  expect(document.components.securitySchemes.cookie).toMatchObject({ type: 'apiKey', in: 'cookie', name: '__Host-portcullis' })
  const taking = (scheme: string) => operations.filter(([, { security }]) => security.some((way) => way[scheme])).map(([place]) => place)
  expect(taking('cookie')).toEqual(taking('bearer'))
  expect(taking('cookie').filter((place) => /(token|introspect|revoke|refresh)$/.test(place))).toEqual([
    'POST /auth/admin/keys/{kid}/revoke',
  ])
})

it('every success has a body with a content type and a schema, except 204', () => {
  for (const [place, { responses }] of operations)
    for (const [status, { content }] of Object.entries(responses)) {
      if (Number(status) >= 400) continue
      const type = place.endsWith('/audit/export') ? 'application/x-ndjson' : 'application/json'
      if (status === '204') expect(content, `${place} ${status}`).toBeUndefined()
      else expect(content, `${place} ${status}`).toEqual({ [type]: { schema: expect.any(Object) } })
    }
})

it('every parameter of a path is described, and no other', () => {
  for (const [place, { parameters = [] }] of operations) {
    const described = parameters.filter((parameter) => parameter.in === 'path')
    expect(described.map(({ name }) => name).sort(), place).toEqual([...place.matchAll(/\{([^}]+)\}/g)].map((m) => m[1]).sort())
    expect(
      described.every(({ required }) => required),
      place,
    ).toBe(true)
    expect(place).toMatch(/[^/]$/)
  }
})

it('every error is a problem document, or has the form of OAuth at the endpoints of OAuth', () => {
  for (const [place, { tags, responses }] of operations) {
    const [type, name] = tags[0] === 'OAuth' ? ['application/json', 'OAuthError'] : ['application/problem+json', 'Problem']
    for (const [status, { content, description }] of Object.entries(responses)) {
      expect(description, `${place} ${status}`).not.toBe('Default Response')
      if (Number(status) >= 400)
        expect(content, `${place} ${status}`).toEqual({ [type!]: { schema: { $ref: `#/components/schemas/${name}` } } })
    }
  }
})

it('the statuses that a request can meet before the endpoint are listed', () => {
  for (const [place, { tags, security, requestBody, responses }] of operations) {
    const statuses = Object.keys(responses)
    expect(statuses, place).toEqual(expect.arrayContaining(['500', '503']))
    expect(
      statuses.some((status) => status.startsWith('2')),
      place,
    ).toBe(true)
    if (security.length) expect(statuses, place).toEqual(expect.arrayContaining(['401', '429']))
    if (requestBody)
      expect(statuses, place).toEqual(expect.arrayContaining(tags[0] === 'OAuth' ? ['400'] : ['400', '408', '413', '415', '422']))
    if (place.includes('/auth/admin/')) expect(statuses, place).toContain('403')
  }
})

it('schemas are shared, and every reference has its schema', () => {
  const names = Object.keys(document.components.schemas)
  expect(names.sort()).toEqual([
    'Accepted',
    'AccessToken',
    'ApiKey',
    'AuditEvent',
    'AuthenticationResponseJSON',
    'ErrorCode',
    'FieldError',
    'FieldErrorCode',
    'Introspection',
    'Invitation',
    'LinkDetails',
    'LoginCookie',
    'LoginTokens',
    'MachineClient',
    'ManagedUser',
    'Metadata',
    'MfaRequired',
    'OAuthError',
    'OwnUser',
    'Passkey',
    'PasskeyOptions',
    'Pending',
    'Problem',
    'RegistrationResponseJSON',
    'Session',
    'SigningKey',
    'Tokens',
    'User',
  ])
  const used = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map((m) => m[1]!)
  expect([...new Set(used)].sort()).toEqual(names.sort())
  expect(document.components.schemas.Tokens.properties.user).toEqual({ $ref: '#/components/schemas/User' })
})

it('a real problem has the fields of the schema', async () => {
  const { body } = await call(gateway, '/auth/login', { body: {} })
  const { required, properties } = document.components.schemas.Problem
  expect(Object.keys(body)).toEqual(expect.arrayContaining(required))
  expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.keys(body)))
  expect(document.components.schemas.ErrorCode.enum).toEqual(errorCatalogue().map(({ code }) => code))
})
