/** Measures how many requests a second this machine can answer, shared by gateway, k6 and upstream as in the run that follows. */

import { median } from './numbers.ts'
import type { Upstream } from './upstream.ts'
import { cpuSecondsOf } from './vitals.ts'

/** Until the code is compiled and the connections are open. */
const WARM_UP_SECONDS = 5

export interface Maximum {
  perSecond: number
  /** CPU time per second. Below about 0.9, k6 and the upstream are the limit, not the gateway. */
  gatewayCpu: number
}

/**
 * Sends the same kind of load as the run, at a higher rate than can be answered: the answered requests are the maximum. A closed loop of
 * clients would cost k6 half as much and show a maximum of which it cannot keep 70 % at a constant rate. Rising steps of a rate would need
 * a judgement of failure, which other load on the host disturbs. For the same reason the median second is used.
 */
export async function measureMaximum(upstream: Upstream, gatewayPid: number, overload: () => Promise<unknown>): Promise<Maximum> {
  const seconds: Maximum[] = []
  const look = () => ({ at: performance.now() / 1000, answered: upstream.answered(), cpu: cpuSecondsOf(gatewayPid) })
  let last = look()
  const timer = setInterval(() => {
    const now = look()
    const length = now.at - last.at
    // seconds without load are not counted
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
