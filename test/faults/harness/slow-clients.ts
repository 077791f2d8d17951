/** Rows with slowhttptest: many slow clients of one kind beside a normal client. */
import { attack, DEADLINES, KINDS, type Measured, measure, type Slow, startSlowUpstream } from '../../../load/slow-clients.ts'
import { route } from '../../support/config.ts'
import { has, installPackage } from '../../support/processes.ts'
import { quantile } from '../../support/quantile.ts'
import { atEnd } from './cleanup.ts'
import { type FaultOptions, type FaultResult, lengthOf, type Tally } from './fault-row.ts'
import { type FaultGateway, promiseHealthy } from './gateways.ts'
import { socketsSettle, startLoneGateway } from './lone-gateway.ts'

/** slowhttptest opens its connections within five seconds. */
const RAMP_SECONDS = 5
const LATE_SECONDS = 10
/** A normal client may be slower than alone by this factor. Times below the floor are noise of a shared machine. */
const MOST_SLOWER = 1.5
const NOISE_MS = 50
const RATE = 100
export const HEADERS_TIMEOUT_SECONDS = DEADLINES.server.headersTimeoutMs / 1000
export const REQUEST_TIMEOUT_SECONDS = DEADLINES.server.requestTimeoutMs / 1000

export interface SlowRun {
  clients: number
  slow: Slow
  alone: Measured
  beside: Measured
  rssBeforeMiB: number
  fdsBefore: number
  fdsAfter: number
}

async function startTarget(): Promise<FaultGateway> {
  // the normal client has an upstream of its own: slow clients may use up the slots of theirs
  const [slow, own] = [await startSlowUpstream(), await startSlowUpstream()]
  for (const upstream of [slow, own]) atEnd(upstream.close)
  const to = (path: string, { port }: { port: number }) =>
    route(path, { upstream: [`http://127.0.0.1:${port}`], timeouts: DEADLINES.timeouts })
  return startLoneGateway({ routes: [to('/small', own), to('/upload', slow), to('/large', slow)], config: { server: DEADLINES.server } })
}

/** The measurement counts sockets. */
const targetOf = (gateway: FaultGateway) => ({
  port: gateway.port,
  url: gateway.url,
  rssMiB: gateway.rssMiB,
  fds: gateway.sockets,
})

async function attackOnce(gateway: FaultGateway, kind: string, clients: number, seconds: number): Promise<SlowRun> {
  const target = targetOf(gateway)
  const alone = await measure(target, RATE, Math.ceil(seconds / 3))
  const [rssBeforeMiB, fdsBefore] = [gateway.rssMiB(), gateway.sockets()]
  const onStart = (child: { kill(): boolean }) => atEnd(() => child.kill())
  const [beside, slow] = await attack(target, kind, { clients, seconds, rate: RATE, onStart })
  // kept connections to upstreams may remain for a while
  const fdsAfter = await socketsSettle(gateway, fdsBefore)
  return { clients, slow, alone, beside, rssBeforeMiB, fdsBefore, fdsAfter }
}

/** @param judge promises of this kind beside those that hold for all */
export async function runSlowClients(
  kinds: readonly string[],
  options: FaultOptions,
  tally: Tally,
  judge: (run: SlowRun, kind: string) => void,
): Promise<FaultResult> {
  if (!has('slowhttptest') && !installPackage('slowhttptest'))
    throw new Error('slowhttptest is missing: put it on PATH, or run this as root on Debian')
  const clients = options.short ? 200 : 2000
  const seconds = lengthOf(options, 45, 30)
  const gateway = await startTarget()
  await measure(targetOf(gateway), RATE, 5)
  const texts: string[] = []
  for (const kind of kinds) {
    const run = await attackOnce(gateway, kind, clients, seconds)
    const { slow, alone, beside, fdsBefore, fdsAfter } = run
    const { name } = KINDS[kind]!
    const [p99Alone, p99Beside] = [quantile(alone.times, 0.99), quantile(beside.times, 0.99)]
    const most = Math.max(...beside.fds)
    texts.push(
      `${name}: ${slow.open} open at most, ${slow.closed} closed by second ${slow.lastSecond}; ${beside.times.length} normal requests, ` +
        `${beside.failed} failed, p99 ${p99Alone.toFixed(0)} → ${p99Beside.toFixed(0)} ms; ` +
        `RSS ${run.rssBeforeMiB} → at most ${beside.peakRssMiB} MiB; sockets ${fdsBefore} → at most ${most} → ${beside.fds.at(-1)} → ${fdsAfter}`,
    )
    tally.promise(beside.failed === 0, `${name}: ${beside.failed} normal requests failed`)
    const connected = Math.max(slow.open, slow.closed)
    tally.promise(connected >= clients * 0.9, `${name}: only ${connected} of ${clients} slow clients were connected`)
    tally.promise(
      p99Beside < Math.max(NOISE_MS, MOST_SLOWER * p99Alone),
      `${name}: p99 of the normal client ${p99Alone.toFixed(0)} → ${p99Beside.toFixed(0)} ms`,
    )
    tally.promise(fdsAfter <= fdsBefore * 1.01 + 10, `${name}: ${fdsAfter - fdsBefore} sockets were left`)
    // a connection to the client and one to the upstream
    tally.promise(most <= fdsBefore + 2 * clients + RATE, `${name}: ${most} sockets at one time`)
    judge(run, name)
  }
  promiseHealthy(gateway, tally)
  return {
    what: `${clients} clients of each kind, ${seconds} s each, beside ${RATE} requests/s`,
    counts: texts.join('; '),
    broken: tally.broken,
  }
}

/** All connections are closed by then. slowhttptest opens its connections later on a busy machine, and writes its figures each second. */
export const promiseClosed = ({ slow }: SlowRun, name: string, timeoutSeconds: number, tally: Tally): void => {
  const latest = RAMP_SECONDS + timeoutSeconds + LATE_SECONDS
  // slowhttptest ends without a last figure: whether all are closed, the sockets of the gateway show
  tally.promise(slow.closed >= slow.open * 0.9, `${name}: ${slow.open - slow.closed} of ${slow.open} connections were not closed`)
  tally.promise((slow.lastSecond ?? Number.POSITIVE_INFINITY) <= latest, `${name}: closed by second ${slow.lastSecond}, not ${latest}`)
}
