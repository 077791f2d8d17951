import { startBalancer } from '../harness/balancer.ts'
import { familyFaults } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { startGateways } from '../harness/gateways.ts'
import { openLoop } from '../harness/load.ts'
import { createSuccessors, newSessionClients, type RefreshEnd } from '../harness/session-client.ts'
import { startStores } from '../harness/stores.ts'
import { randomOf } from '../storms/random.ts'

const ROTATIONS_PER_SECOND = 200
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
    const tally = createTally()
    const random = randomOf(options.seed, 1)
    const stores = await startStores()
    const gateways = await startGateways(2, { ...stores, routes: [], workers: options.short ? 1 : 2 })
    const balancer = await startBalancer(gateways)
    const successors = createSuccessors()
    const clients = await newSessionClients(options.short ? 20 : 60, balancer.url, { successors })
    let killedAt = Number.NEGATIVE_INFINITY
    let late = 0
    let lateFailures = 0

    const count = (end: RefreshEnd, isLate: boolean) => {
      const name = end.kind === 'rotated' ? `rotated at attempt ${end.attempts}` : `${end.kind} ${'code' in end ? end.code : end.status}`
      tally.add(name)
      if (isLate) late++
      if (isLate && end.kind !== 'rotated') lateFailures++
      tally.promise(end.kind !== 'refused', `a client was logged out: ${name}`)
      tally.promise(end.kind !== 'failed', `a refresh: ${name}`)
    }
    const rate = options.short ? 50 : ROTATIONS_PER_SECOND
    let next = 0
    const load = openLoop(rate, async () => {
      const client = clients[next++ % clients.length]!
      if (client.isBusy() || client.isLoggedOut()) return tally.add('client was busy')
      const isLate = performance.now() - killedAt > SETTLED_MS
      count(await client.refresh(), isLate)
    })
    const begun = performance.now()
    const end = begun + seconds * 1000
    const backs: number[] = []
    let isDown = false
    while (performance.now() < end) {
      await pause(options.short ? 1000 : Math.min(5000 + random.below(15_000), Math.max(0, end - performance.now() - 3000)))
      if (performance.now() > end - 2500 || isDown) break
      const victim = random.pick(gateways)
      killedAt = performance.now()
      await victim.kill()
      tally.add('kill -9')
      await pause(options.short ? 500 : 3000)
      const started = performance.now()
      await victim.start()
      backs.push(performance.now() - started)
      isDown = !victim.isAlive()
    }
    await pause(Math.max(0, end - performance.now()))
    await load.stop()
    const took = Math.round((performance.now() - begun) / 1000)
    const slowest = Math.max(...backs)
    tally.promise(successors.doubles().length === 0, `${successors.doubles().length} tokens were exchanged for two successors`)
    tally.promise(lateFailures <= late / 1000, `${lateFailures} of ${late} refreshes failed later than 2 s after a kill`)
    // a test asserts no times
    tally.promise(options.short || slowest < BACK_MS, `a killed gateway was back after ${Math.round(slowest)} ms`)
    tally.broken.push(...(await familyFaults(stores.postgres)))
    for (const gateway of gateways) tally.broken.push(...gateway.complaints().map((line) => `in the log: ${line.slice(0, 300)}`))
    return {
      what: `2 gateways, ${rate} refreshes/s of ${clients.length} clients, ${tally.get('kill -9')} kills; ${took} s`,
      counts: `${tally.text()}; slowest start ${Math.round(slowest)} ms; after 2 s ${lateFailures} of ${late} failed`,
      broken: tally.broken,
    }
  },
}
