/** The OpenAPI document of our own endpoints. It is made from the schemas of the routes; this file adds what a route does not say itself. */
import { STATUS_CODES } from 'node:http'
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { sessionCookieName } from '../identity/access/session-cookie.ts'
import type { Config } from '../platform/config/schema.ts'
import { ProblemSchema } from '../platform/http/endpoint.ts'
import { VERSION } from '../platform/lib/version.ts'

type Json = { [key: string]: unknown }
interface Operation {
  operationId: string
  tags: string[]
  parameters?: { in: string }[]
  requestBody?: { required?: boolean; content: Record<string, { schema: Json }> }
  security?: unknown[]
  responses: Record<string, Json>
}

/** The tags, by the first word of an endpoint's name that is listed. */
const TAGS: Record<string, { name: string; description: string }> = {
  admin: { name: 'Administration', description: 'For users with the role admin.' },
  token: { name: 'OAuth', description: 'For machine clients. Bodies are forms, and errors have the form of RFC 6749.' },
  introspect: { name: 'OAuth', description: '' },
  revoke: { name: 'OAuth', description: '' },
  'own-session': { name: 'Sessions', description: '' },
  sessions: { name: 'Sessions', description: 'Where a user is logged in.' },
  'api-keys': { name: 'API keys', description: 'Keys for programs that act for a user.' },
  providers: { name: 'Providers', description: 'Sign-in with a provider, and linked logins.' },
  invitation: { name: 'Invitations', description: 'For invited people.' },
  mfa: { name: 'Second factor', description: 'Codes of an authenticator app, and backup codes.' },
  password: { name: 'Account', description: 'The account of the caller.' },
  email: { name: 'Account', description: '' },
  me: { name: 'Account', description: '' },
}
const LOGIN = { name: 'Login', description: 'Register, log in, refresh, log out.' }
const OAUTH = TAGS.token!.name

const wordsOf = (name: string): string[] => name.split('.').slice(1)

/**
 * `DELETE /sessions/:id` of `auth.sessions` is `deleteSession`; `POST /admin/clients/:id/enable` of `auth.admin.clients` is
 * `postAdminClientEnable`.
 */
function operationIdOf(method: string, name: string, url: string): string {
  const [, item, action] = /(\/:[^/]+)(?:\/([^/:]+))?$/.exec(url) ?? []
  const isAction = action !== undefined && !name.endsWith(`.${action}`)
  const capital = (text: string) => text.replace(/(?:^|[.-])([a-z])/g, (_, first: string) => first.toUpperCase())
  const noun = capital(wordsOf(name).join('.'))
  const isSingle = item !== undefined && (action === undefined || isAction)
  return method.toLowerCase() + (isSingle ? noun.replace(/s$/, '') : noun) + (isAction ? capital(action) : '')
}

/** What a request can meet before the endpoint itself sees it. */
function commonStatuses({ requestBody, security, tags, parameters = [] }: Operation): number[] {
  const isOAuth = tags.includes(OAUTH)
  const takesInput = requestBody !== undefined || parameters.some((parameter) => parameter.in === 'query')
  return [
    400,
    ...(requestBody && !isOAuth ? [408, 413, 415] : []),
    ...(takesInput && !isOAuth ? [422] : []),
    ...(parameters.length > 0 && !isOAuth ? [414] : []),
    ...(security?.length ? [401, 429] : []),
    // an account that owes a new password or a factor, a page of another site, a country
    ...(isOAuth ? [] : [403]),
    500,
    503,
  ]
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** One schema as JSON Schema 2020-12 says it shortest, which generators of clients understand best. */
function plainSchema(value: Json): Json {
  const { documented, ...schema } = value
  if (isObject(documented)) Object.assign(schema, documented)
  if (Array.isArray(schema.enum) && schema.type === undefined && schema.enum.every((item) => typeof item === 'string'))
    schema.type = 'string'
  if (!Array.isArray(schema.anyOf)) return schema
  const { anyOf, ...rest } = schema
  const choices = anyOf as Json[]
  if (choices.every((choice) => typeof choice.const === 'string'))
    return { type: 'string', enum: choices.map((choice) => choice.const), ...rest }
  const others = choices.filter(({ type }) => type !== 'null')
  const [only] = others
  if (others.length !== 1 || choices.length !== 2 || typeof only!.type !== 'string' || only!.title !== undefined) return schema
  return { ...only, ...rest, type: [only!.type, 'null'] }
}

/** Each schema with a title becomes a component of this name. */
function shareSchemas(value: unknown, shared: Record<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((item) => shareSchemas(item, shared))
  if (!isObject(value)) return value
  const copy = plainSchema(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shareSchemas(item, shared)])))
  if (typeof copy.title !== 'string' || !(typeof copy.type === 'string' || copy.anyOf || copy.allOf)) return copy
  const { title, ...schema } = copy
  if (shared[title] !== undefined && JSON.stringify(shared[title]) !== JSON.stringify(schema)) throw new Error(`two schemas ${title}`)
  shared[title] = schema
  return { $ref: `#/components/schemas/${title}` }
}

const PROBLEM = { 'application/problem+json': { schema: JSON.parse(JSON.stringify(ProblemSchema)) as Json } }

/** A body of JSON without a required member may be left out: see `readBodies` of own-endpoints.ts. */
const isOptional = ({ content }: NonNullable<Operation['requestBody']>): boolean =>
  Object.values(content).every(({ schema }) => !schema.required && !schema.minProperties)

/** A session cookie counts wherever an access token does. */
const orCookie = (security: readonly unknown[]): unknown[] =>
  security.flatMap((way) => (JSON.stringify(way) === JSON.stringify({ bearer: [] }) ? [way, { cookie: [] }] : [way]))

const text = (description: string, { required = false, ...schema }: { required?: boolean; [key: string]: unknown } = {}) => ({
  description,
  ...(required ? { required } : {}),
  schema: { type: 'string', ...schema },
})

const HEADERS = {
  'X-Request-Id': text('The id under which the log has the request.', { required: true }),
  RateLimit: text('What is left of each limit, and until when (draft-ietf-httpapi-ratelimit-headers).'),
  'RateLimit-Policy': text('The limits that count this request.'),
  'Retry-After': { description: 'Seconds after which to try again.', schema: { type: 'integer', minimum: 0 } },
  'WWW-Authenticate': text('What is missing or wrong: RFC 6750 for access tokens, RFC 7617 for machine clients.'),
  'Set-Cookie': text('The session cookie, when the session is one by cookie.'),
}

/** The fields of a response, by its status. */
function headersOf(status: number, setsCookie: boolean): Json {
  const names = [
    'X-Request-Id',
    'RateLimit',
    'RateLimit-Policy',
    ...(status === 401 ? ['WWW-Authenticate'] : []),
    ...(status === 429 || status === 503 ? ['Retry-After'] : []),
    ...(status < 300 && setsCookie ? ['Set-Cookie'] : []),
  ]
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}

/** A body that may ask for a cookie is answered with one. So is the end of a session that is one by cookie. */
const setsCookies = ({ requestBody, operationId }: Operation): boolean =>
  Object.values(requestBody?.content ?? {}).some(({ schema }) => isObject(schema.properties) && 'session' in schema.properties) ||
  /^(postLogout|postLogoutAll|deleteOwnSession|postProvidersLink|postMfaTotpConfirm|postPasskeysRegisterVerify)$/.test(operationId)

function complete(operation: Operation, takesCookies: boolean): void {
  if (operation.security && takesCookies) operation.security = orCookie(operation.security)
  const isOAuth = operation.tags.includes(OAUTH)
  if (operation.requestBody && !isOAuth && isOptional(operation.requestBody)) operation.requestBody.required = false
  const error = isOAuth ? operation.responses['400']!.content : PROBLEM
  for (const status of commonStatuses(operation)) operation.responses[status] ??= { content: error }
  for (const [status, response] of Object.entries(operation.responses)) {
    response.description = STATUS_CODES[status]!
    if (Number(status) >= 400) response.content = error
    response.headers = headersOf(Number(status), takesCookies && setsCookies(operation))
  }
}

const COOKIE = ({ server, auth }: Config) =>
  ({
    type: 'apiKey',
    in: 'cookie',
    name: sessionCookieName(auth.browser.cookieDomain, server.publicUrl.startsWith('https:')),
    description: 'The session of a browser. A request that another site began is refused, or the cookie counts as not sent.',
  }) as const

export const openApi = (config: Config): FastifyDynamicSwaggerOptions => ({
  convertConstToEnum: false,
  openapi: {
    openapi: '3.1.1',
    info: {
      title: 'Portcullis accounts',
      version: VERSION,
      description: 'Register, log in, refresh, log out. Errors are RFC 9457 problem documents.',
      // the document describes this installation: its operator helps, not the project
      contact: { name: 'The operator of this gateway', url: config.server.publicUrl },
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: config.server.publicUrl }],
    tags: [LOGIN, ...Object.values(TAGS).filter(({ description }) => description)],
    components: {
      headers: HEADERS as never,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'The access token of a login.' },
        client: { type: 'http', scheme: 'basic', description: 'The id and the secret of a machine client.' },
        ...(config.auth.browser.enabled ? { cookie: COOKIE(config) } : {}),
      },
    },
  },
  transform({ schema, url, route }) {
    if (!schema || schema.hide) return { schema, url }
    const { name } = route.config as unknown as { name: string }
    const tag = wordsOf(name).flatMap((word) => TAGS[word] ?? [])[0] ?? LOGIN
    return { schema: { ...schema, tags: [tag.name], operationId: operationIdOf(String(route.method), name, url) }, url }
  },
  transformObject(document) {
    if (!('openapiObject' in document)) return document.swaggerObject
    const { paths = {}, components = {}, ...rest } = document.openapiObject as unknown as { paths?: Json; components?: Json }
    for (const methods of Object.values(paths))
      for (const operation of Object.values(methods as Json)) complete(operation as Operation, config.auth.browser.enabled)
    const schemas: Record<string, unknown> = {}
    const shared = shareSchemas(paths, schemas)
    return { ...rest, components: { ...components, schemas }, paths: shared } as unknown as typeof document.openapiObject
  },
})
