/** Shapes that several endpoints share, and who is calling them. */
import type { FastifyRequest } from 'fastify'
import { type TProperties, type TSchema, Type } from 'typebox'
import type { RequestOrigin } from '../audit/audit.repo.ts'
import { problem } from '../errors.ts'
import type { Authenticate } from '../gateway/authenticate.ts'
import { exchangeOf } from '../gateway/exchange.ts'
import type { Principal } from '../gateway/principal.ts'

/** Unknown fields are refused, nothing is coerced. */
export const strictBody = <P extends TProperties>(properties: P) => Type.Object(properties, { additionalProperties: false })

/** Generous: the policy, which counts bytes and code points, judges afterwards. */
export const Password = Type.String({ minLength: 1, maxLength: 4096 })

export const UserSchema = Type.Object({
  id: Type.String(),
  username: Type.String(),
  email: Type.String(),
  email_verified: Type.Boolean(),
  roles: Type.Array(Type.String()),
  mfa_enabled: Type.Boolean(),
  password_must_change: Type.Boolean(),
  created_at: Type.String(),
  last_login_at: Type.Union([Type.String(), Type.Null()]),
})

export const Tokens = Type.Object({
  user: UserSchema,
  access_token: Type.String(),
  refresh_token: Type.String(),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds.' }),
})

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

/** Who asked, for the audit row. */
export function originOf(request: FastifyRequest): RequestOrigin {
  const { client, requestId } = exchangeOf(request.raw)
  const { 'user-agent': userAgent = null } = request.headers
  return { ip: client.address, userAgent, requestId }
}

/** Authentication of our own endpoints: the same as that of the routes. */
export interface Caller {
  /** Null without a credential. */
  find(request: FastifyRequest): Promise<Principal | null>
  /** @throws token_missing; password_change_required unless the endpoint is one that leads out of it */
  demand(request: FastifyRequest, options?: { mayHaveToChangePassword?: boolean; role?: string }): Promise<Principal>
}

export function createCaller(authenticate: Authenticate): Caller {
  async function find(request: FastifyRequest): Promise<Principal | null> {
    const exchange = exchangeOf(request.raw)
    exchange.principal = await authenticate(request.headers.authorization, exchange.client)
    return exchange.principal
  }
  return {
    find,
    async demand(request, { mayHaveToChangePassword = false, role } = {}) {
      const principal = await find(request)
      if (!principal) throw problem('token_missing')
      if (principal.mustChangePassword && !mayHaveToChangePassword) throw problem('password_change_required')
      if (role && !principal.roles.has(role))
        throw problem('forbidden', { headers: { 'www-authenticate': 'Bearer error="insufficient_scope"' } })
      return principal
    },
  }
}
