import { beforeAll, expect, it } from 'vitest'
import { errorCatalogue } from '../../../src/platform/lib/errors.ts'
import { call } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'

const gateway = useGateway({ config: { docs: { enabled: true } } })

interface Operation {
  tags: string[]
  operationId: string
  summary: string
  security?: unknown
  requestBody?: { content: Record<string, unknown> }
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
    if (security) expect(statuses, place).toEqual(expect.arrayContaining(['401', '429']))
    if (requestBody)
      expect(statuses, place).toEqual(expect.arrayContaining(tags[0] === 'OAuth' ? ['400'] : ['400', '408', '413', '415', '422']))
    if (place.includes('/auth/admin/')) expect(statuses, place).toContain('403')
  }
})

it('schemas are shared, and every reference has its schema', () => {
  const names = Object.keys(document.components.schemas)
  expect(names.sort()).toEqual([
    'AccessToken',
    'ApiKey',
    'AuditEvent',
    'Introspection',
    'MachineClient',
    'ManagedUser',
    'OAuthError',
    'Problem',
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
  expect(properties.code.enum).toEqual(errorCatalogue().map(({ code }) => code))
})
