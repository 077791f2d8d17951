import { promiseOneSuccessor } from '../harness/families.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { startRowRelay } from '../harness/relay.ts'
import { createSuccessors, newSessionClient, type SessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { randomOf } from '../storms/random.ts'

const INSERT = /insert into "refresh_tokens"/
const CLIENTS = 4

export const row: FaultRow = {
  id: 'D3',
  fault: 'the database connection is cut between COMMIT and its answer',
  promise: 'a retry gets the same successor; each exchanged token has exactly one',
  isQuick: true,
  async run(options) {
    const count = options.seconds ? Number.POSITIVE_INFINITY : options.short ? 20 : 2000
    const tally = createTally()
    // a relay loses one COMMIT at a time: each gateway has its own
    const relays = await Promise.all(Array.from({ length: options.short ? 1 : 2 }, () => startRowRelay()))
    const { stores, gateways } = await startSetting({
      gateways: relays.length,
      reach: ({ postgres }) => {
        for (const relay of relays) relay.target(postgres.port)
        return { databaseUrl: postgres.url }
      },
      each: (i) => ({ databaseUrl: relays[i]!.through('postgres://postgres@127.0.0.1:1/portcullis') }),
    })
    const successors = createSuccessors()
    const begun = performance.now()
    const isOver = () => performance.now() > begun + (options.seconds ?? Number.POSITIVE_INFINITY) * 1000
    let cuts = 0
    await Promise.all(
      gateways.map(async (gateway, i) => {
        const relay = relays[i]!
        const random = randomOf(options.seed, i)
        const clients: SessionClient[] = []
        for (let c = 0; c < CLIENTS; c++) clients.push(await newSessionClient(gateway.url, { successors }))
        for (let turn = 0; cuts < count && !isOver(); turn++) {
          const client = clients[turn % clients.length]!
          const parent = client.refreshToken()
          cuts++
          const lost = relay.loseCommit(INSERT, random.pick(['arrives', 'arrives', 'delayed']))
          const isBlind = random.below(3) === 0
          const first = client.refresh()
          const { deliver } = await Promise.race([lost, first.then(() => ({ deliver() {} }))])
          // the gateway cannot look for the outcome either
          if (isBlind) relay.cut()
          await pause(random.below(20))
          deliver()
          if (isBlind) await pause(30)
          relay.mend()
          const end = await first
          tally.add(`first ${end.kind}${isBlind ? ', cut off from the database' : ''}`)
          if (end.kind === 'rotated') continue
          if (end.kind !== 'unavailable') tally.broken.push(`a refresh ended as ${JSON.stringify(end)}`)
          const again = await retry(client)
          tally.add(`retry ${again}`)
          tally.promise(again === 'rotated' && client.refreshToken() !== parent, `a retry was ${again}`)
        }
      }),
    )
    const took = Math.round((performance.now() - begun) / 1000)
    await promiseOneSuccessor(tally, successors, stores.postgres)
    await checkGateways(tally, gateways)
    return resultOf(`${cuts} cuts; ${took} s`, [], tally)
  },
}

/** As clients do that get 503: again, within the grace time. */
async function retry(client: SessionClient): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const end = await client.refresh()
    if (end.kind !== 'unavailable') return end.kind === 'refused' ? `refused ${end.code}` : end.kind
    await pause(100)
  }
  return 'unavailable for 10 s'
}
