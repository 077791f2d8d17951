/** Authentication of our own endpoints: the same as that of the routes. */

import type { FastifyRequest } from 'fastify'
import { problem } from '../../platform/lib/errors.ts'
import { contextOf, type RequestContext } from '../../platform/request/request-context.ts'
import { demandFactor, demandRole } from './access-policy.ts'
import type { Authenticate } from './authenticate.ts'
import type { Principal } from './principal.ts'

/** A request, and who it is from once that is known: null before, and for a request without a credential. */
export interface IdentifiedContext extends RequestContext {
  principal: Principal | null
}

/** The server attaches one that has room for the principal (proxy/routing/exchange.ts). */
const identifiedContextOf = (request: FastifyRequest) => contextOf(request.raw) as IdentifiedContext

/** Of an endpoint whose `onRequest` hook has required a principal. */
export const principalOf = (request: FastifyRequest): Principal => identifiedContextOf(request).principal!

export interface Demand {
  /** The endpoint is one that leads out of a password that must be changed, or to a factor that is owed. */
  isWayOut?: boolean
  role?: string
  /** API keys and machine clients may call, too; else only somebody with a session of their own. */
  byKeys?: boolean
}

export interface Caller {
  /** Null without a credential. */
  find(request: FastifyRequest): Promise<Principal | null>
  /** @throws token_missing, forbidden; password_change_required and mfa_required unless the endpoint leads out of it */
  demand(request: FastifyRequest, demand?: Demand): Promise<Principal>
}

/** @throws forbidden for API keys and machine clients */
export function demandSession({ kind }: Principal): void {
  if (kind !== 'user') throw problem('forbidden', { detail: 'This needs a session: log in.', cause: `a caller of kind ${kind} has none` })
}

export function createCaller(authenticate: Authenticate): Caller {
  async function find(request: FastifyRequest): Promise<Principal | null> {
    const context = identifiedContextOf(request)
    context.principal = await authenticate(request.headers, context.client)
    return context.principal
  }
  return {
    find,
    async demand(request, { isWayOut = false, role, byKeys = false } = {}) {
      const principal = await find(request)
      if (!principal) throw problem('token_missing')
      if (!byKeys) demandSession(principal)
      if (!isWayOut) {
        if (principal.mustChangePassword) throw problem('password_change_required')
        demandFactor(principal)
      }
      if (role) demandRole(principal, role)
      return principal
    },
  }
}
