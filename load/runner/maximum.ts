/** How many requests a second this machine can do, with gateway, k6 and upstream sharing it as they do in the run that follows. */

import { median } from './numbers.ts'
import type { Upstream } from './upstream.ts'
import { cpuSecondsOf } from './vitals.ts'

/** Until the code is compiled and connections are open. */
const WARM_UP_SECONDS = 5

export interface Maximum {
  perSecond: number
  /** Of the CPU time of one core. At less than about 0.9 it is k6 and the upstream that can do no more, not the gateway. */
  gatewayCpu: number
}

/**
 * The same kind of load as in the run, only more than can be done: what comes through is the maximum. Clients that ask again when they have their
 * answer cost k6 half as much and show a maximum of which it cannot keep 70 % at a constant rate; steps of a rate need a judgement of when one has
 * failed, and a moment of a busy neighbour makes it. The median second, for the same neighbour's sake.
 */
export async function measureMaximum(upstream: Upstream, gatewayPid: number, overload: () => Promise<unknown>): Promise<Maximum> {
  const seconds: Maximum[] = []
  const look = () => ({ at: performance.now() / 1000, answered: upstream.answered(), cpu: cpuSecondsOf(gatewayPid) })
  let last = look()
  const timer = setInterval(() => {
    const now = look()
    const length = now.at - last.at
    // before the first and after the last of the load nothing is measured
    if (now.answered > last.answered)
      seconds.push({ perSecond: (now.answered - last.answered) / length, gatewayCpu: (now.cpu - last.cpu) / length })
    last = now
  }, 1000)
  await overload()
  clearInterval(timer)
  const counted = seconds.slice(WARM_UP_SECONDS, -1)
  if (!counted.length) throw new Error('the maximum could not be measured: nothing was answered')
  return { perSecond: median(counted.map((s) => s.perSecond)), gatewayCpu: median(counted.map((s) => s.gatewayCpu)) }
}
