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
 * A closed loop: so many clients as keep every part busy, each asking again when it has its answer. It settles at what the slowest part can do by
 * itself, where steps of a fixed rate need a judgement of when a step has failed, which a moment of a busy neighbour decides. And the median second,
 * for the same neighbour's sake.
 */
export async function measureMaximum(upstream: Upstream, gatewayPid: number, closedLoop: () => Promise<unknown>): Promise<Maximum> {
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
  await closedLoop()
  clearInterval(timer)
  const counted = seconds.slice(WARM_UP_SECONDS, -1)
  if (!counted.length) throw new Error('the maximum could not be measured: nothing was answered')
  return { perSecond: median(counted.map((s) => s.perSecond)), gatewayCpu: median(counted.map((s) => s.gatewayCpu)) }
}
