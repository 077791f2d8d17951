/**
 * What is known of one request while it passes the pipeline. The observer reads it again at the end. One object serves the whole request:
 * each stage adds to it, and the narrower types state what a stage may rely on.
 */
import type { IncomingMessage } from 'node:http'
import type { Principal } from '../../identity/access/principal.ts'
import type { IdentifiedContext } from '../../identity/access/require-auth.ts'
import type { Problem } from '../../platform/lib/errors.ts'
import type { Decision } from '../../platform/limits/limiter.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { Recording } from '../../platform/telemetry/recording.ts'
import type { Target } from './request-target.ts'
import type { Route, RouteNode } from './route-table.ts'

export interface Exchange extends IdentifiedContext {
  host: string
  /** Null when the target was refused. */
  target: Target | null
  /** Why the head of the request was refused. The first stage throws it. */
  refusal: Problem | null
  /** The node of the route table that the path leads to; null when there is none. */
  node: RouteNode | null
  /** Null until the pipeline has found the route. */
  route: Route | null
  /** Of the rate limits that counted the request. */
  decisions: Decision[]
  /** The upstream to which the request was sent last. */
  upstream: AskedUpstream | null
  /** The Set-Cookie by which the client's next requests go to the same upstream; null when the client needs none. */
  upstreamCookie: string | null
  /** The client waits for 100 Continue. */
  expectsContinue: boolean
  isUpgrade: boolean
  /** A browser asks whether a page may send a request (Fetch standard §3.2.2), and the upstream answers. */
  isPreflight: boolean
  /** Another proxy asks whether a request of its client may pass. The request has the method, target and host of the client. Null: nobody asks. */
  asked: Asked | null
  /** The spans of the request. Null: it is not recorded. */
  recording: Recording | null
  /** Called when the response has ended, or the client has left. */
  onClosed: (() => void) | null
}

/** What a proxy asks about (see asked-request.ts). */
export interface Asked {
  /** As the client sent it. Empty: the proxy did not say. */
  target: string
  /** Every stage has passed. */
  isAllowed: boolean
  /** The proxy takes each 2xx as a yes, and not only 200. */
  admitsAll2xx: boolean
}

export interface AskedUpstream {
  /** `<route>:<n>` */
  name: string
  origin: string
  /** When the request left the pipeline, by the steady clock. Milliseconds. */
  askedAt: number
}

/** The head was read. It holds nothing that two parsers could read in two ways. */
export interface Received extends Exchange {
  target: Target
  refusal: null
}

/** The route is known. */
export interface Routed extends Received {
  route: Route
}

/** The credential was checked. Null: the request has no credential. */
export interface Authenticated extends Routed {
  principal: Principal | null
}

/** The context of each request is an exchange: `receive` makes it. */
export const exchangeOf = (req: IncomingMessage): Exchange => contextOf(req) as Exchange
