/** What is known of one request while it passes the pipeline; read once more when it is observed. */
import type { IncomingMessage } from 'node:http'
import type { Problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { Decision } from '../limits/limiter.ts'
import type { Target } from './canonical.ts'
import type { Principal } from './principal.ts'
import type { Route, RouteNode } from './routes.ts'

export interface Exchange {
  requestId: string
  /** performance.now() */
  startedAt: number
  client: ClientOrigin
  host: string
  /** Null when the target was refused. */
  target: Target | null
  /** Why the canonical check refused it; thrown by the first hook. */
  refusal: Problem | null
  node: RouteNode | null
  route: Route | null
  /** The label of logs and metrics: a route's name, one of our own endpoints, or `none`. */
  label: string
  principal: Principal | null
  decisions: Decision[]
  /** Of every kind of answer, beside what its kind adds: lower-case name, value, name, value … */
  fields: string[]
  error: Problem | null
  /** Who was asked, and when. */
  upstream: { name: string; origin: string; askedAt: number } | null
  /** The client waits for 100 Continue. */
  expectsContinue: boolean
  isUpgrade: boolean
  /** Called when the answer is over, or its client gone. */
  onClosed: (() => void) | null
}

const EXCHANGE = Symbol('portcullis.exchange')
type Carrier = IncomingMessage & { [EXCHANGE]?: Exchange }

export const attachExchange = (req: IncomingMessage, exchange: Exchange): void => {
  ;(req as Carrier)[EXCHANGE] = exchange
}

/** Every request that reaches a hook has one: it is made before routing. */
export const exchangeOf = (req: IncomingMessage): Exchange => (req as Carrier)[EXCHANGE]!
