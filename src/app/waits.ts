/** Measures where the requests of a serving process wait: for its event loop, and for a core. */
import { systemClock } from '../platform/lib/clock.ts'
import { readCpuWait } from '../platform/lib/cpu-wait.ts'
import type { Metrics } from '../platform/telemetry/metrics.ts'

const EVERY_MS = 100

export interface WaitSources {
  /** Milliseconds, of a clock that never goes back. */
  steady(): number
  cpuWait: () => ReturnType<typeof readCpuWait>
}

/** @returns takes one sample. Call it `EVERY_MS` after the last call: it counts how late the call is */
export function createWaitSampler({ workerWait }: Pick<Metrics, 'workerWait'>, { steady, cpuWait }: WaitSources): () => void {
  let dueAt = steady() + EVERY_MS
  let before = cpuWait()

  return () => {
    const now = steady()
    workerWait.observe({ where: 'loop' }, Math.max(0, now - dueAt) / 1000)
    dueAt = now + EVERY_MS
    const cpu = cpuWait()
    const turns = cpu && before ? cpu.turns - before.turns : 0
    // the mean of the waits since the last sample
    if (turns > 0) workerWait.observe({ where: 'cpu' }, (cpu!.waitedMs - before!.waitedMs) / turns / 1000)
    before = cpu
  }
}

/** @returns stops the samples */
export function measureWaits(metrics: Metrics): () => void {
  const timer = setInterval(
    createWaitSampler(metrics, { steady: systemClock.steady, cpuWait: () => readCpuWait('self') }),
    EVERY_MS,
  ).unref()
  return () => clearInterval(timer)
}
