/** The facts about one request that the proxy and the gateway's own endpoints share. */
import type { IncomingMessage } from 'node:http'
import type { Problem } from '../lib/errors.ts'
import type { Client } from './client-address.ts'
import type { TraceContext } from './trace-context.ts'

/**
 * Made before routing, so that hooks, handlers and log lines can use it. Services get it as their last argument; it is also an
 * AuditContext.
 */
export interface RequestContext {
  requestId: string
  trace: TraceContext
  /** The HTTP client, as far as trusted proxies vouch for it. */
  client: Client
  /** The client's address. */
  ip: string
  userAgent: string | null
  /** The language that the client asks for, if it is one of the configuration. Set for own endpoints with pages. */
  language?: string | null
  /** `systemClock.steady()` when we saw the first byte of the request's head. */
  startedAt: number
  /** The label in logs and metrics: the name of a route, the name of an own endpoint, or `none`. */
  label: string
  /** Fields of every response, whatever its kind: lower-case name, value, name, value … */
  fields: string[]
  /** A page of ours sent the request, and not a program. */
  via?: 'page'
  /** The reason of a failure; null while there is none. */
  error: Problem | null
}

const CONTEXT = Symbol('portcullis.context')
type Carrier = IncomingMessage & { [CONTEXT]?: RequestContext }

export const attachContext = (req: IncomingMessage, context: RequestContext): void => {
  ;(req as Carrier)[CONTEXT] = context
}

/** Every request that reaches a hook has one. */
export const contextOf = (req: IncomingMessage): RequestContext => (req as Carrier)[CONTEXT]!
