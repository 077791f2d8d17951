/** Measures whether a second worker costs more CPU per request. */
import { BOTH_CPUS } from './machine.ts'
import { type Comparison, compare, type Options } from './measure.ts'
import type { Workers } from './report.ts'
import { Missing, start } from './running.ts'
import { gatewayVariant } from './subjects/gateway.ts'

type Surroundings = Parameters<typeof compare>[2]

const variant = (workers: number) =>
  gatewayVariant({
    name: `workers-${workers}`,
    does: '',
    change: (config) => {
      config.server.workers = workers
    },
  })

/** @throws when this build has no workers */
export async function compareWorkers(options: Options, surroundings: Surroundings): Promise<Workers> {
  const trial = await start(variant(2), surroundings.folder, surroundings.dependencies, BOTH_CPUS)
  const isOneProcess = trial.log().includes('runs one process')
  await trial.stop()
  if (isOneProcess) throw new Missing('not available in this build: it runs one process')

  const { measured, failures }: Comparison = await compare([variant(1), variant(2)], options, { ...surroundings, cpus: BOTH_CPUS })
  const [one, two] = measured
  if (!one || !two) throw new Error(failures[0]?.reason)
  return {
    cpuRatio: two.median.cpuUs / one.median.cpuUs,
    throughputRatio: two.median.requestsPerSecond / one.median.requestsPerSecond,
  }
}
