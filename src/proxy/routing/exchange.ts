/**
 * What is known of one request while it passes the pipeline; the observer reads it once more at the end. One object for the whole life of the
 * request: each stage adds to it, and the narrower types say what a stage may rely on.
 */
import type { IncomingMessage } from 'node:http'
import type { Principal } from '../../identity/access/principal.ts'
import type { IdentifiedContext } from '../../identity/access/require-auth.ts'
import type { Problem } from '../../platform/lib/errors.ts'
import type { Decision } from '../../platform/limits/limiter.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { Target } from './request-target.ts'
import type { Route, RouteNode } from './route-table.ts'

export interface Exchange extends IdentifiedContext {
  host: string
  /** Null when the target was refused. */
  target: Target | null
  /** Why the request's head was refused; the first stage throws it. */
  refusal: Problem | null
  /** The node of the route table that the path leads to; null when there is none. */
  node: RouteNode | null
  /** Null until the pipeline has found it. */
  route: Route | null
  decisions: Decision[]
  /** The upstream that was asked last. */
  upstream: AskedUpstream | null
  /** The client waits for 100 Continue. */
  expectsContinue: boolean
  isUpgrade: boolean
  /** Called when the answer is over, or the client has left. */
  onClosed: (() => void) | null
}

export interface AskedUpstream {
  /** `<route>:<n>` */
  name: string
  origin: string
  /** When the request left the pipeline, by the steady clock. Milliseconds. */
  askedAt: number
}

/** The head was read, and holds nothing that two readers could read in two ways. */
export interface Received extends Exchange {
  target: Target
  refusal: null
}

/** The route is known. */
export interface Routed extends Received {
  route: Route
}

/** The credential was judged. Null: the request brought none. */
export interface Authenticated extends Routed {
  principal: Principal | null
}

/** The context of each request is an exchange: `receive` makes it. */
export const exchangeOf = (req: IncomingMessage): Exchange => contextOf(req) as Exchange
