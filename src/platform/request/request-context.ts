/** What is known of one request, whoever serves it: the proxy, or an endpoint of our own. */
import type { IncomingMessage } from 'node:http'
import type { Problem } from '../lib/errors.ts'
import type { Client } from './client-address.ts'

/** Made before routing, so that every hook, handler and log line finds it. Services get it as their last argument; it is an AuditContext, too. */
export interface RequestContext {
  requestId: string
  /** The HTTP client, as far as trusted proxies vouch for it. */
  client: Client
  /** The client's address. */
  ip: string
  userAgent: string | null
  /** `systemClock.steady()` at the first byte of the request's head that we saw. */
  startedAt: number
  /** The label of logs and metrics: a route's name, the name of one of our own endpoints, or `none`. */
  label: string
  /** Fields of every kind of answer, beside what its kind adds: lower-case name, value, name, value … */
  fields: string[]
  /** Why the request failed, once it has. */
  error: Problem | null
}

const CONTEXT = Symbol('portcullis.context')
type Carrier = IncomingMessage & { [CONTEXT]?: RequestContext }

export const attachContext = (req: IncomingMessage, context: RequestContext): void => {
  ;(req as Carrier)[CONTEXT] = context
}

/** Every request that reaches a hook has one. */
export const contextOf = (req: IncomingMessage): RequestContext => (req as Carrier)[CONTEXT]!
