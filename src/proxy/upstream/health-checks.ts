/** Active health checks: asks a server of a route again and again, on a connection of its own. Each process checks by itself. */
import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import type { Route } from '../routing/route-table.ts'

export type HealthRules = NonNullable<Route['health']>

/** The server that is asked. */
export interface CheckedServer {
  /** Of the origin, for `net.connect`. */
  address: { isTls: boolean; host: string; port: number }
  /** The value of the Host header. */
  authority: string
  /** For a connection outside the pool. TLS is verified, against the operator's CA if there is one. */
  connectOptions: { lookup: LookupFunction; ca?: Buffer; cert?: Buffer; key?: Buffer }
}

/** Asks once. Resolves with null, or with the cause of the failure. */
export type Ask = (signal: AbortSignal) => Promise<string | null>

export interface HealthCheck {
  isHealthy(): boolean
  /** Ends the check that is running, too. */
  stop(): void
}

export interface HealthCheckOptions {
  rules: Pick<HealthRules, 'intervalMs' | 'failures' | 'successes'>
  ask: Ask
  onResult(cause: string | null): void
  /** @param cause of the last failure; null when the server is healthy again */
  onChange(isHealthy: boolean, cause: string | null): void
  /** From 0 to 1. */
  random?: () => number
  /** Calls back after that time. @returns cancels */
  after?: (ms: number, run: () => void) => () => void
}

/** Of the interval, in both directions: processes that started together do not ask together. */
const JITTER = 0.1

const afterTimer = (ms: number, run: () => void) => {
  const timer = setTimeout(run, ms).unref()
  return () => clearTimeout(timer)
}

/** A server counts as healthy until its first check, which decides alone. */
export function startHealthCheck({
  rules: { intervalMs, failures, successes },
  ask,
  onResult,
  onChange,
  random = Math.random,
  after = afterTimer,
}: HealthCheckOptions): HealthCheck {
  const stopped = new AbortController()
  let isHealthy = true
  let isFirst = true
  /** Results in a row that contradict the present state. */
  let contrary = 0
  let cancel = after(intervalMs * JITTER * random(), check)

  function check(): void {
    void ask(stopped.signal).then((cause) => {
      if (stopped.signal.aborted) return
      onResult(cause)
      judge(cause)
      cancel = after(intervalMs * (1 - JITTER + 2 * JITTER * random()), check)
    })
  }

  function judge(cause: string | null): void {
    const needed = isFirst ? 1 : isHealthy ? failures : successes
    isFirst = false
    contrary = (cause === null) === isHealthy ? 0 : contrary + 1
    if (contrary < needed) return
    contrary = 0
    isHealthy = !isHealthy
    onChange(isHealthy, cause)
  }

  return {
    isHealthy: () => isHealthy,
    stop() {
      stopped.abort()
      cancel()
    },
  }
}

/** GET on a fresh connection, because a kept connection may work while new ones do not. Nothing of a client is sent: no credentials. */
export const createAsk =
  ({ address: { isTls, host, port }, authority, connectOptions }: CheckedServer, { path, timeoutMs, expect }: HealthRules): Ask =>
  (signal) =>
    new Promise((resolve) => {
      const request = (isTls ? https : http).get({
        agent: false,
        host,
        port,
        path,
        headers: { host: authority, 'user-agent': 'portcullis-health', accept: '*/*' },
        signal,
        ...connectOptions,
      })
      const late = setTimeout(() => request.destroy(new Error(`no answer within timeoutMs = ${timeoutMs}`)), timeoutMs)
      request.on('response', (response) => {
        const status = response.statusCode!
        resolve(expect.has(status) ? null : `status ${status}`)
        // the body says nothing: it is read so that the server sees a regular end, but not beyond the deadline
        response.on('error', () => {})
        response.resume()
      })
      request.on('error', (error) => resolve(error.message || String((error as NodeJS.ErrnoException).code)))
      request.on('close', () => {
        clearTimeout(late)
        resolve('the connection was closed without an answer')
      })
    })
