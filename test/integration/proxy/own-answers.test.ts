import { describe, expect, it } from 'vitest'
import { FIELD_CODES } from '../../../src/platform/lib/errors.ts'
import { call, newUser, raw } from '../../support/client.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({
  routes: [{ name: 'public', match: { path: '/public', methods: ['GET'] }, upstream: [upstream.url], access: 'public' }],
  config: { server: { publicUrl: 'https://gateway.test' } },
}))
const login = (body: unknown, headers: Record<string, string> = {}) => call(gateway, '/auth/login', { body, headers })
const person = { login: 'ann', password: 'correct horse battery' }

describe('headers', () => {
  const helmet = ['content-security-policy', 'x-content-type-options', 'x-frame-options', 'referrer-policy']

  it.each(['/health', '/auth/me', '/.well-known/jwks.json'])('%s has those of helmet', async (path) => {
    const { headers } = await call(gateway, path)
    for (const name of helmet) expect(headers.has(name), name).toBe(true)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.has('x-powered-by')).toBe(false)
  })

  it('a proxied answer has none of them: those are for the upstream to choose', async () => {
    const { headers } = await call(gateway, '/public')
    for (const name of [...helmet, 'cache-control']) expect(headers.has(name), name).toBe(false)
  })

  it('credentials and errors are never stored', async () => {
    const user = await newUser(gateway)
    const answers = [
      await login({ login: user.username, password: user.password }),
      await call(gateway, '/auth/me', { token: user.token }),
      await login(person),
      await call(gateway, '/nowhere'),
    ]
    expect(answers.map((a) => [a.status, a.headers.get('cache-control')])).toEqual([
      [200, 'no-store'],
      [200, 'no-store'],
      [401, 'no-store'],
      [404, 'no-store'],
    ])
  })
})

describe('the policy of the docs page', () => {
  const docs = useGateway({ config: { docs: { enabled: true }, server: { trustedProxies: ['127.0.0.1/32'] } } })
  const get = async (path: string, headers: Record<string, string> = {}) => (await call(docs, path, { headers })).headers

  it('allows only what comes from the gateway itself, over plain http, too', async () => {
    for (const path of ['/auth/docs', '/auth/docs/static/swagger-ui-bundle.js'])
      expect((await get(path)).get('content-security-policy')).toBe(
        "default-src 'self'; base-uri 'none'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; " +
          "object-src 'none'; script-src 'self'; script-src-attr 'none'; " +
          "style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w=';",
      )
  })

  it('is for that page alone', async () => {
    for (const path of ['/health', '/auth/me', '/auth/openapi.json', '/auth/password/reset'])
      expect((await get(path)).get('content-security-policy'), path).not.toContain('RL3ie0nH')
    expect((await get('/health')).get('content-security-policy')).toContain('upgrade-insecure-requests')
  })

  it('isolates the page over https; over plain http a browser would report the two headers as errors', async () => {
    const isolation = async (headers: Record<string, string>) => {
      const answered = await get('/auth/docs', headers)
      return ['cross-origin-opener-policy', 'origin-agent-cluster'].map((name) => answered.get(name))
    }
    expect(await isolation({ 'x-forwarded-proto': 'https' })).toEqual(['same-origin', '?1'])
    expect(await isolation({})).toEqual([null, null])
    expect((await get('/health')).get('cross-origin-opener-policy')).toBe('same-origin')
  })
})

describe('a problem', () => {
  it('has the form of RFC 9457 with all its members', async () => {
    const { status, headers, body } = await call(gateway, '/nowhere', { headers: { 'x-request-id': 'p-1' } })
    expect(status).toBe(404)
    expect(headers.get('content-type')).toMatch(/^application\/problem\+json/)
    expect(headers.get('x-request-id')).toBe('p-1')
    expect(body).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      code: 'route_not_found',
      detail: 'No route matches this request. Check its host and its path.',
      request_id: 'p-1',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    })
  })

  it('is the same word in the answer, the log and the metric', async () => {
    await call(gateway, '/public', { method: 'POST', headers: { 'x-request-id': 'p-2' } })
    expect(gateway.log().find((l) => l.request_id === 'p-2')).toMatchObject({ status: 405, outcome: 'method_not_allowed' })
    const metrics = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    expect(metrics).toMatch(/^portcullis_errors_total\{code="method_not_allowed",route="[\w.]+"\} [1-9]\d*$/m)
  })
})

describe('what our endpoints do not take', () => {
  it.each([
    ['no JSON', '{"login":'],
    ['bytes that are no UTF-8 text', '\xff\xfe{'],
  ])('%s is 400 json_invalid', async (_name, body) => {
    expect((await login(body)).body).toMatchObject({ status: 400, code: 'json_invalid' })
  })

  it.each([['__proto__'], ['constructor']])('a body that would poison a prototype (%s) is refused', async (name) => {
    const { status } = await login(`{"login":"a","password":"b","${name}":{"prototype":{"x":1}}}`)
    expect([400, 422]).toContain(status)
    expect(({} as any).x).toBeUndefined()
  })

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
  ])('%s is 415', async (type) => {
    expect((await login(JSON.stringify(person), { 'content-type': type })).body).toMatchObject({
      status: 415,
      code: 'content_type_unsupported',
    })
  })

  it.each<[string, unknown, { field: string; code: string; detail: string }[]]>([
    ['a missing field', { login: 'ann' }, [{ field: 'password', code: 'required', detail: 'is missing' }]],
    ['an unknown field', { ...person, admin: true }, [{ field: 'admin', code: 'unknown', detail: 'is not known here' }]],
    ['a number for a text: nothing is coerced', { ...person, login: 7 }, [{ field: 'login', code: 'type', detail: 'must be a string' }]],
    ['true for a text', { ...person, password: true }, [{ field: 'password', code: 'type', detail: 'must be a string' }]],
    ['null for a text', { ...person, password: null }, [{ field: 'password', code: 'type', detail: 'must be a string' }]],
    ['a list for a text', { ...person, login: ['ann'] }, [{ field: 'login', code: 'type', detail: 'must be a string' }]],
    ['a list for the whole', [person], [{ field: 'body', code: 'type', detail: 'must be an object' }]],
    ['a text for the whole', '"ann"', [{ field: 'body', code: 'type', detail: 'must be an object' }]],
    ['null for the whole', 'null', [{ field: 'body', code: 'type', detail: 'must be an object' }]],
    [
      'an empty body',
      '',
      [
        { field: 'login', code: 'required', detail: 'is missing' },
        { field: 'password', code: 'required', detail: 'is missing' },
      ],
    ],
    [
      'many unknown fields at a time, in one entry',
      { ...person, ...Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`x${i}`, i])) },
      [{ field: 'body', code: 'unknown', detail: 'has 300 fields that are not known here' }],
    ],
    [
      'two at a time',
      { password: 7 },
      [
        { field: 'login', code: 'required', detail: 'is missing' },
        { field: 'password', code: 'type', detail: 'must be a string' },
      ],
    ],
  ])('%s is 422 and names the field', async (_name, body, errors) => {
    const answer = await login(body)
    expect(answer.body).toMatchObject({ status: 422, code: 'validation_failed' })
    expect(answer.body.errors).toHaveLength(errors.length)
    expect(answer.body.errors).toEqual(expect.arrayContaining(errors))
  })

  it.each([
    ['POST', '/auth/logout', 204],
    ['POST', '/auth/logout-all', 204],
    ['DELETE', '/auth/me', 204],
    ['DELETE', '/auth/mfa/totp', 409],
    ['POST', '/auth/email/verify/request', 202],
    ['POST', '/auth/mfa/totp', 422],
    ['PATCH', '/auth/me', 422],
  ])('%s %s without a body answers the same for any content type', async (method, path, status) => {
    for (const type of [undefined, 'application/json', 'application/json; charset=utf-8', 'application/x-www-form-urlencoded']) {
      const { token } = await newUser(gateway)
      const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type, 'content-length': '0' }
      expect((await call(gateway, path, { method, token, headers })).status, type).toBe(status)
    }
  })

  it('DELETE of a session takes a content type without a body', async () => {
    const { token } = await newUser(gateway)
    const { body } = await call(gateway, '/auth/sessions', { token })
    const headers = { 'content-type': 'application/json' }
    expect((await call(gateway, `/auth/sessions/${body.sessions[0].id}`, { method: 'DELETE', token, headers })).status).toBe(204)
  })

  it('chunks without a byte are no body either', async () => {
    const { token } = await newUser(gateway)
    const head = `POST /auth/logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nConnection: close\r\n`
    expect(await raw(gateway.port, `${head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)).toMatch(/^HTTP\/1\.1 204/)
  })

  it('a body of more than 16 KiB is 413, one of 16 KiB is read', async () => {
    const body = (bytes: number) => `{"login":"${'a'.repeat(bytes - 12)}"}`
    expect(body(16_384)).toHaveLength(16_384)
    expect((await login(body(16_384))).status).toBe(422)
    expect((await login(body(16_385))).body).toMatchObject({ status: 413, code: 'body_too_large' })
  })

  it('a chunked body of more than 16 KiB is 413, and the connection is closed', async () => {
    const head = 'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
    const answer = await raw(gateway.port, `${head}5000\r\n${'x'.repeat(0x5000)}\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 413/)
    expect(answer).toMatch(/^connection: close\r$/im)
  })

  it('a path that is none of ours below the prefix is 404', async () => {
    for (const path of ['/auth', '/auth/', '/auth/nothing', '/auth/login/x', '/auth/LOGIN/x'])
      expect((await call(gateway, path, { body: {} })).body).toMatchObject({ status: 404, code: 'route_not_found' })
  })

  it('a method that an endpoint does not have is 405 with Allow', async () => {
    const { body, headers } = await call(gateway, '/auth/login', { method: 'DELETE' })
    expect(body).toMatchObject({ status: 405, code: 'method_not_allowed' })
    expect(headers.get('allow')).toBe('POST')
  })
})

describe('behind another prefix', () => {
  const moved = useGateway({ config: { auth: { prefix: '/id/v1' }, docs: { enabled: true } } })
  const register = (password: string) =>
    call(moved, '/id/v1/register', { body: { username: 'marigold', email: 'marigold@mail.test', password } })

  it('a detail names endpoints with it', async () => {
    const { body } = await register(person.password)
    const { status, body: problem } = await call(moved, '/id/v1/mfa/totp/confirm', { token: body.access_token, body: { code: '123456' } })
    expect([status, problem.code, problem.detail]).toEqual([
      409,
      'mfa_not_enabled',
      'Begin with POST /id/v1/mfa/totp, and confirm within 15 minutes.',
    ])
  })

  it('a weak password is reported as a weak password', async () => {
    const { status, body } = await register('Password2026!')
    expect({ status, ...body }).toEqual({
      type: 'about:blank',
      title: 'Unprocessable Content',
      status: 422,
      code: 'validation_failed',
      detail: 'The password is too common: attackers try it first.',
      request_id: expect.any(String),
      timestamp: expect.any(String),
      errors: [{ field: 'password', code: 'too_common', detail: 'is too common: attackers try it first' }],
    })
  })

  it('the OpenAPI document lists the codes of a field', async () => {
    const { body } = await call(moved, '/id/v1/openapi.json')
    expect(JSON.stringify(body)).toContain(`"enum":${JSON.stringify(FIELD_CODES)}`)
  })
})
