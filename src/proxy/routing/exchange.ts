/** What is known of one request while it passes the pipeline; read once more when it is observed. */
import type { IncomingMessage } from 'node:http'
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
  /** Why the canonical check refused it; thrown by the first hook. */
  refusal: Problem | null
  node: RouteNode | null
  route: Route | null
  decisions: Decision[]
  /** Who was asked, and when. */
  upstream: { name: string; origin: string; askedAt: number } | null
  /** The client waits for 100 Continue. */
  expectsContinue: boolean
  isUpgrade: boolean
  /** Called when the answer is over, or its client gone. */
  onClosed: (() => void) | null
}

/** The context of each request is an exchange: `receive` of the pipeline makes it. */
export const exchangeOf = (req: IncomingMessage): Exchange => contextOf(req) as Exchange
