/** The two kinds of traffic that most rows need: refreshes of many clients, and proxied requests with their access tokens. */
import type http from 'node:http'
import { quantile } from '../../support/quantile.ts'
import type { Tally } from './fault-row.ts'
import { ask, BrokenExchange, jsonOf } from './http.ts'
import { type Load, openLoop } from './load.ts'
import type { RefreshEnd, SessionClient } from './session-client.ts'

export interface Sample {
  /** When the request was sent: `performance.now()`. */
  at: number
  ms: number
  /** The status with its error code, or how the connection broke. */
  how: string
  isOk: boolean
  /** The connection had been used before, and no byte of an answer arrived. */
  isIdleRace: boolean
}

export interface Traffic extends Load {
  samples: Sample[]
  between(from: number, to: number): Sample[]
}

const nameOf = (end: RefreshEnd): string =>
  end.kind === 'rotated' ? `rotated at attempt ${end.attempts}` : `${end.kind} ${'code' in end ? end.code : end.status}`

function traffic(perSecond: number, one: (index: number) => Promise<Sample | null>): Traffic {
  const samples: Sample[] = []
  const load = openLoop(perSecond, async (index) => {
    const sample = await one(index)
    if (sample) samples.push(sample)
  })
  return { ...load, samples, between: (from, to) => samples.filter(({ at }) => at >= from && at < to) }
}

/** Refreshes of the clients in turn. A client that waits for an answer has no turn. A client without a session logs in again. */
export function refreshTraffic(clients: readonly SessionClient[], perSecond: number): Traffic {
  let next = 0
  return traffic(perSecond, async () => {
    let client: SessionClient | undefined
    for (let i = 0; i < clients.length && !client; i++) {
      const one = clients[next++ % clients.length]!
      if (!one.isBusy()) client = one
    }
    if (!client) return null
    if (client.isLoggedOut()) {
      await client.login().catch(() => null)
      return null
    }
    const at = performance.now()
    const end = await client.refresh()
    return { at, ms: performance.now() - at, how: nameOf(end), isOk: end.kind === 'rotated', isIdleRace: false }
  })
}

export interface ProxiedOptions {
  path?: string
  tokenOf?: (index: number) => string | undefined
  agent?: http.Agent
  timeoutMs?: number
  headersOf?: (index: number) => Record<string, string>
}

/** GET requests to gateways or a balancer, each with a nonce that the upstream must return. */
export function proxiedTraffic(urls: readonly string[], perSecond: number, options: ProxiedOptions = {}): Traffic {
  const { path = '/api/x', tokenOf, agent, timeoutMs = 10_000, headersOf } = options
  return traffic(perSecond, async (index) => {
    const at = performance.now()
    const nonce = `n${index}-${Math.round(at)}`
    try {
      const answer = await ask(`${urls[index % urls.length]}${path}?nonce=${nonce}`, {
        timeoutMs,
        token: tokenOf?.(index),
        headers: headersOf?.(index) ?? {},
        ...(agent && { agent }),
      })
      const body = jsonOf(answer)
      const isOk = answer.status === 200 && body.nonce === nonce
      const how = answer.status === 200 ? (isOk ? '200' : "200 with another request's answer") : `${answer.status} ${body.code ?? ''}`
      return { at, ms: answer.ms, how, isOk, isIdleRace: false }
    } catch (error) {
      if (!(error instanceof BrokenExchange)) throw error
      const isIdleRace = error.isReused && !error.hasBegun && error.code === 'ECONNRESET'
      return { at, ms: performance.now() - at, how: `broken ${error.code}`, isOk: false, isIdleRace }
    }
  })
}

/** The access tokens of the clients in turn. */
export const tokensOf =
  (clients: readonly SessionClient[]) =>
  (index: number): string =>
    clients[index % clients.length]!.accessToken()

/** Each client can refresh. */
export async function promiseAllRefresh(tally: Tally, clients: readonly SessionClient[]): Promise<void> {
  for (const { kind } of await Promise.all(clients.map((client) => client.refresh())))
    tally.promise(kind === 'rotated', `a client cannot refresh at the end: ${kind}`)
}

/** Counts the samples by their ends: `NAME: 200 12, 503 unavailable 1`. */
export function countSamples(name: string, samples: readonly Sample[]): string {
  const groups = Map.groupBy(samples, ({ how }) => how.trim())
  return `${name}: ${[...groups].map(([how, list]) => `${how} ${list.length}`).join(', ') || 'none'}`
}

export const failed = (samples: readonly Sample[]): Sample[] => samples.filter(({ isOk }) => !isOk)
export const p = (samples: readonly Sample[], q: number): number =>
  Math.round(
    quantile(
      samples.map(({ ms }) => ms),
      q,
    ),
  )

/** Promises that no sample has failed. */
export function promiseAllOk(tally: Tally, name: string, samples: readonly Sample[]): void {
  const bad = failed(samples)
  tally.promise(bad.length === 0, `${countSamples(`${name} that failed`, bad)} (of ${samples.length})`)
  tally.promise(samples.length > 0, `no ${name} was sent`)
}
