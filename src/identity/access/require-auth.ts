/** Authenticates the callers of our own endpoints, in the same way as the callers of routes. */

import type { FastifyRequest } from 'fastify'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { contextOf, type RequestContext } from '../../platform/request/request-context.ts'
import { requireFactor, requireRole } from './access-policy.ts'
import type { Authenticate } from './authenticate.ts'
import type { CookieAuthentication } from './authenticate-cookie.ts'
import type { Principal } from './principal.ts'

/** The context of a request, with its caller. */
export interface IdentifiedContext extends RequestContext {
  /** Undefined until the request is authenticated. Null when the request has no credential. */
  principal: Principal | null | undefined
}

/** The context that the server attaches has a field for the principal (proxy/routing/exchange.ts). */
const identifiedContextOf = (request: FastifyRequest) => contextOf(request.raw) as IdentifiedContext

/** For endpoints whose `onRequest` hook has required a principal. */
export const principalOf = (request: FastifyRequest): Principal => identifiedContextOf(request).principal!

export interface Requirement {
  /** Admits callers who must change the password or still owe a second factor. For endpoints where they can do so. */
  allowIncomplete?: boolean
  role?: string
  /** Admits API keys and machine clients too, but no token of another issuer. By default only a user with a session may call. */
  byKeys?: boolean
}

/** Counts a request of this caller. @throws rate_limited */
export type CountCaller = (caller: Pick<Principal, 'kind' | 'id' | 'sessionId'>, context: RequestContext) => Promise<void> | void

export interface RequireAuth {
  /** Counts the request. @throws token_missing, forbidden, rate_limited; password_change_required, mfa_required unless `allowIncomplete` */
  (request: FastifyRequest, requirement?: Requirement): Promise<Principal>
  /** Counts nothing. @returns null when the request has no credential. @throws forbidden for a token of another issuer */
  optional(request: FastifyRequest): Promise<Principal | null>
}

/** @throws forbidden for a caller without an account here */
function requireOwn({ kind }: Principal): void {
  if (kind === 'external')
    throw problem('forbidden', {
      detail: 'A token of another issuer may not do this. Log in here as a user.',
      cause: 'a caller of another issuer has no account',
    })
}

/** @throws forbidden for API keys, machine clients and tokens of other issuers */
export function requireSession(principal: Principal): void {
  requireOwn(principal)
  const { kind } = principal
  if (kind !== 'user')
    throw problem('forbidden', {
      detail: 'API keys and machine clients may not do this. Log in as a user.',
      cause: `a caller of kind ${kind} has none`,
    })
}

const NEITHER = { isStrict: false, isPublic: false }

/** The session cookie at our own endpoints. */
export interface OwnCookies extends Pick<CookieAuthentication, 'authenticate' | 'hasCookie'> {
  /** Counts a request by its address, whose cookie is no session. @throws rate_limited */
  countAnonymous(context: RequestContext): Promise<void> | void
}

/** @param cookies null: no endpoint takes a session cookie */
export function createRequireAuth(authenticate: Authenticate, countCaller: CountCaller, cookies: OwnCookies | null = null): RequireAuth {
  async function byCookie(request: FastifyRequest, context: RequestContext): Promise<Principal | null> {
    const { client } = context
    if (!cookies || holdsCredential(request.body)) return null
    let principal: Principal | null
    try {
      principal = await cookies.authenticate(request.raw, { client, isUpgrade: false }, NEITHER)
    } catch (error) {
      // a request that another site sent counts too
      if (error instanceof Problem && error.code === 'origin_untrusted') await cookies.countAnonymous(context)
      throw error
    }
    // a request without a cookie was counted before: an unknown cookie must not escape the limit
    if (!principal && cookies.hasCookie(request.raw, client)) await cookies.countAnonymous(context)
    return principal
  }

  async function identify(request: FastifyRequest): Promise<Principal | null> {
    const context = identifiedContextOf(request)
    context.principal = (await authenticate(request.headers, context.client)) ?? (await byCookie(request, context))
    return context.principal
  }

  async function optional(request: FastifyRequest): Promise<Principal | null> {
    const principal = await identify(request)
    if (principal) requireOwn(principal)
    return principal
  }

  async function requireAuth(request: FastifyRequest, { allowIncomplete = false, role, byKeys = false }: Requirement = {}) {
    const principal = await identify(request)
    if (!principal) throw problem('token_missing')
    // before the role is checked: a refused request costs as much
    await countCaller(principal, contextOf(request.raw))
    requireOwn(principal)
    if (!byKeys) requireSession(principal)
    if (!allowIncomplete) {
      if (principal.mustChangePassword) throw problem('password_change_required')
      requireFactor(principal)
    }
    if (role) requireRole(principal, role)
    return principal
  }

  return Object.assign(requireAuth, { optional })
}

/** The fields of a body that name the caller. They were sent on purpose, and a browser adds a cookie by itself. */
const CREDENTIALS = ['refresh_token', 'mfa_token', 'token']

const holdsCredential = (body: unknown): boolean =>
  typeof body === 'object' && body !== null && CREDENTIALS.some((name) => Object.hasOwn(body, name))
