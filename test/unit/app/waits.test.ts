import { expect, it } from 'vitest'
import { createWaitSampler } from '../../../src/app/waits.ts'
import { type CpuWait, readCpuWait } from '../../../src/platform/lib/cpu-wait.ts'
import { createMetrics, type MetricValues } from '../../../src/platform/telemetry/metrics.ts'

async function sampled(samples: { lateMs: number; cpu: CpuWait | null }[]) {
  const metrics = createMetrics('test')
  let now = 5000
  let cpu: CpuWait | null = { waitedMs: 40, turns: 10 }
  const sample = createWaitSampler(metrics, { steady: () => now, cpuWait: () => cpu })
  for (const next of samples) {
    now += 100 + next.lateMs
    cpu = next.cpu
    sample()
  }
  const { values } = (await metrics.workerWait.get()) as unknown as MetricValues
  const seriesOf = (where: string, name: string) =>
    values.find((v) => v.labels.where === where && (v as { metricName?: string }).metricName === `portcullis_worker_wait_seconds_${name}`)
      ?.value
  return { loop: [seriesOf('loop', 'count'), seriesOf('loop', 'sum')], cpu: [seriesOf('cpu', 'count'), seriesOf('cpu', 'sum')] }
}

it('the loop’s wait is the lateness of a timer, and a core’s wait the mean of all turns since the last sample', async () => {
  const { loop, cpu } = await sampled([
    { lateMs: 0, cpu: { waitedMs: 50, turns: 12 } },
    { lateMs: 250, cpu: { waitedMs: 50, turns: 12 } },
  ])
  expect(loop).toEqual([2, 0.25])
  // no turn, no wait
  expect(cpu).toEqual([1, 0.005])
})

it('without the counts of the system only the loop is measured', async () => {
  const { loop, cpu } = await sampled([
    { lateMs: 0, cpu: null },
    { lateMs: 0, cpu: { waitedMs: 50, turns: 12 } },
  ])
  expect(loop).toEqual([2, 0])
  expect(cpu).toEqual([undefined, undefined])
})

it('this process has waited for a core, and a process that does not exist has no counts', () => {
  const own = readCpuWait('self')
  // not on every system
  if (own) expect(own.turns).toBeGreaterThan(0)
  expect(readCpuWait(0)).toBe(null)
})
