/** The endpoint that explains a decision, for administrators; admin.routes.ts requires the role. */
import { isIP } from 'node:net'
import { type Static, Type } from 'typebox'
import type { FindUser } from '../../identity/admin/user-queries.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { ClientData } from '../../platform/geo/client-data.ts'
import { answers, BEARER, documented, NEEDS_ADMIN, strictBody, Term } from '../../platform/http/endpoint.ts'
import type { FastifyTypeProviderTypebox } from '../../platform/http/type-provider.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import { isProxied, PROXIED_METHODS } from '../routing/proxied-methods.ts'
import { ANONYMOUS, type Caller, createCallers, roleFault } from './callers.ts'
import { createExplain } from './explain.ts'
import { ExplanationSchema, explanationView } from './explanation-view.ts'

export interface ExplainRoutesDeps {
  config: Config
  data: ClientData
  find: FindUser
  /** Milliseconds since the epoch. */
  now: () => number
}

/** Longer targets are refused before a route is looked for. */
const MAX_URL = 8192
const MAX_ROLES = 20

const Flag = Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')]))
const Query = strictBody({
  method: Type.Optional(documented(Term(32, 'The default is GET.'), { enum: [...PROXIED_METHODS] })),
  url: Type.String({ minLength: 1, maxLength: MAX_URL, description: 'A URL or a path, as a client would send it.' }),
  user: Type.Optional(Term(254, 'The caller: an e-mail address, a username or an id.')),
  role: Type.Optional(
    Type.Union([Term(63), Type.Array(Term(63), { maxItems: MAX_ROLES })], { description: 'The caller: anybody with these roles.' }),
  ),
  anonymous: Flag,
  second_factor: Flag,
  from: Type.Optional(documented(Term(45, 'The address of the client.'), { anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }] })),
  websocket: Flag,
})

export const explainRoutes =
  ({ config, data, find, now }: ExplainRoutesDeps) =>
  async (app: FastifyTypeProviderTypebox) => {
    const explain = createExplain({ config, data, now })
    const callers = createCallers(config)

    app.get(
      '/admin/explain',
      {
        config: { name: 'auth.admin.explain' },
        schema: {
          summary: 'Who may reach a URL, and why',
          description: `Asks the stages of real requests. Nothing is counted or forwarded. Without \`user\` and \`role\` the caller is anonymous. ${NEEDS_ADMIN}`,
          security: BEARER,
          querystring: Query,
          response: answers({ 200: ExplanationSchema }, [401, 403, 404, 422]),
        },
      },
      async ({ query }) => {
        const { method = 'GET', url, from: address = null } = query
        if (!isProxied(method)) throw invalidField('method', 'unknown', 'must be a method such as GET, in capitals')
        if (address !== null && isIP(address) === 0) throw invalidField('from', 'format', 'must be an IP address')
        const question = { method, url, address, isWebSocket: query.websocket === 'true', caller: await callerOf(query) }
        return explanationView(explain(question), question)
      },
    )

    async function callerOf({ user, role, anonymous, second_factor: factor }: Static<typeof Query>): Promise<Caller> {
      const named = [user !== undefined && 'user', role !== undefined && 'role', anonymous === 'true' && 'anonymous'].filter(Boolean)
      if (named.length > 1)
        throw invalidField(String(named[1]), 'not_allowed', `cannot be given together with ${named[0]}: name one caller`)
      const authenticatedAt = now() / 1000
      if (role !== undefined) {
        const roles = [role].flat()
        const unknown = roles.find((name) => roleFault(config, name) !== null)
        if (unknown !== undefined) throw invalidField('role', 'unknown_role', `is not known. ${roleFault(config, unknown)}`)
        return callers.of({ roles, hasFactor: factor === 'true', authenticatedAt })
      }
      if (user === undefined) return ANONYMOUS
      return callers.ofUser(await find(user), { hasFactor: factor === undefined ? undefined : factor === 'true', authenticatedAt })
    }
  }
