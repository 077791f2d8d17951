/**
 * Requests that wait for their own client: the rest of the body has not arrived for some time. They are no load, and their number must not
 * decide about the requests of other clients.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../../platform/lib/clock.ts'
import { whenClosed } from './when-closed.ts'

export interface SlowBodies {
  /** The head of a request with a body has arrived. */
  watch(request: Watched, response: WatchedResponse, isLogin: boolean): void
  /** Requests that wait for their client now. */
  count(): number
  /** Of them logins and refreshes. */
  logins(): number
  /** For a timer: looks at all bodies that have not arrived. */
  tick(): void
}

/** What is used of a request and its response. */
export type Watched = Pick<IncomingMessage, 'complete' | 'destroyed' | 'readableLength' | 'readableHighWaterMark' | 'once' | 'socket'>
export type WatchedResponse = Pick<ServerResponse, 'headersSent' | 'destroyed' | 'statusCode' | 'once' | 'socket'>

interface Body {
  request: Watched
  response: WatchedResponse
  isLogin: boolean
  /** Since when the client could send more, by the steady clock. Milliseconds. */
  since: number
  isSlow: boolean
  /** Only of a body that is or was slow: listeners for each request would cost too much. */
  hasListeners: boolean
}

/** A body that a client sends without a pause arrives within this time, also over a slow network. */
const SLOW_MS = 500

export function createSlowBodies(clock: Pick<Clock, 'steady'>): SlowBodies {
  const arriving = new Set<Body>()
  let count = 0
  let logins = 0

  function mark(body: Body, isSlow: boolean): void {
    if (body.isSlow === isSlow) return
    body.isSlow = isSlow
    count += isSlow ? 1 : -1
    if (body.isLogin) logins += isSlow ? 1 : -1
  }

  function forget(body: Body): void {
    mark(body, false)
    arriving.delete(body)
  }

  /** The request counts again at once, and not only from the next tick on. */
  function listen(body: Body): void {
    if (body.hasListeners) return
    body.hasListeners = true
    const end = () => forget(body)
    body.request.once('end', end)
    whenClosed(body.request, body.response, end)
  }

  return {
    watch(request, response, isLogin) {
      arriving.add({ request, response, isLogin, since: clock.steady(), isSlow: false, hasListeners: false })
    },
    count: () => count,
    logins: () => logins,
    tick() {
      const now = clock.steady()
      for (const body of arriving) {
        if (isOver(body)) forget(body)
        else if (isUnread(body)) {
          mark(body, false)
          body.since = now
        } else if (now - body.since >= SLOW_MS) {
          mark(body, true)
          listen(body)
        }
      }
    },
  }
}

/** The rest of the body no longer matters: it has arrived, or the answer has begun. An answer may be a stream, which counts apart. */
const isOver = ({ request, response }: Body): boolean =>
  request.complete || request.destroyed || response.headersSent || response.destroyed || response.statusCode === 101

/** With a full buffer the upstream is slow, not the client. */
const isUnread = ({ request }: Body): boolean => request.readableLength >= request.readableHighWaterMark
