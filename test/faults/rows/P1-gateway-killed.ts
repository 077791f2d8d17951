import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, failed, refreshTraffic } from '../harness/traffic.ts'
import { randomOf } from '../storms/random.ts'

/** From then on the survivor serves alone. */
const SETTLED_MS = 2000
const BACK_MS = 5000

export const row: FaultRow = {
  id: 'P1',
  fault: 'kill -9 of one of two gateways during refreshes',
  promise: 'no token gets two successors, nobody is logged out, the survivor goes on',
  isQuick: true,
  async run(options) {
    const seconds = lengthOf(options, 60, 4)
    const rate = options.short ? 50 : 200
    const tally = createTally()
    const random = randomOf(options.seed, 1)
    const setting = await startSetting({ workers: options.short ? 1 : 2, clients: options.short ? 20 : 60 })
    const { stores, gateways, clients, successors } = setting
    const kills: number[] = []
    const backs: number[] = []
    const begun = performance.now()
    const end = begun + seconds * 1000
    const traffic = refreshTraffic(clients, rate)
    do {
      await pause(options.short ? 1000 : 5000 + random.below(10_000))
      const victim = random.pick(gateways)
      kills.push(performance.now())
      await victim.kill()
      await pause(options.short ? 500 : 3000)
      const started = performance.now()
      await victim.start()
      backs.push(performance.now() - started)
    } while (performance.now() < end - 5000)
    await pause(Math.max(0, end - performance.now()))
    await traffic.stop()
    const took = Math.round((performance.now() - begun) / 1000)
    const late = traffic.samples.filter(({ at }) => kills.every((kill) => at < kill || at > kill + SETTLED_MS))
    const lateFailures = failed(late).length
    const slowest = Math.round(Math.max(...backs))
    const refused = traffic.samples.filter(({ how }) => /^(refused|failed)/.test(how))
    tally.promise(refused.length === 0, countSamples('refreshes that must not happen', refused))
    tally.promise(lateFailures <= late.length / 1000, `${lateFailures} of ${late.length} refreshes failed later than 2 s after a kill`)
    // a test asserts no times
    tally.promise(options.short || slowest < BACK_MS, `a killed gateway was back after ${slowest} ms`)
    await promiseOneSuccessor(tally, successors, stores.postgres)
    for (const gateway of gateways) promiseHealthy(gateway, tally)
    return resultOf(
      `2 gateways, ${rate} refreshes/s of ${clients.length} clients, ${kills.length} × kill -9; ${took} s`,
      [
        countSamples('refreshes', traffic.samples),
        `later than 2 s after a kill ${lateFailures} of ${late.length} failed`,
        `slowest start ${slowest} ms`,
      ],
      tally,
    )
  },
}
