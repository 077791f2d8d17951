import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { ask } from '../harness/http.ts'
import { startRowRelay } from '../harness/relay.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, refreshTraffic, tokensOf } from '../harness/traffic.ts'

/** A next key signs 2 × 1 + 3 s after it was made. */
const TOKENS = { keyPollSeconds: 1, jwksMaxAgeSeconds: 3, accessTtlSeconds: 60 }
const KNOWN_MS = 5000

export const row: FaultRow = {
  id: 'N3',
  fault: 'rotation of signing keys under load; one gateway loses the database meanwhile',
  promise: 'no valid token is refused, and a removed key is refused everywhere within 2 s',
  async run(options) {
    const seconds = lengthOf(options, 90, 12)
    const lagMs = options.short ? 2000 : 20_000
    const rate = options.short ? 30 : 150
    const tally = createTally()
    const relay = await startRowRelay()
    const { gateways, clients } = await startSetting({
      workers: options.short ? 1 : 2,
      config: { tokens: TOKENS },
      each: (i) => (i === 1 ? { databaseUrl: relay.through('postgres://postgres@127.0.0.1:1/portcullis') } : {}),
      reach: ({ postgres }) => {
        relay.target(postgres.port)
        return {}
      },
    })
    const [first, second] = gateways as [(typeof gateways)[0], (typeof gateways)[0]]
    const keys = (...args: string[]) => first.command(['keys', ...args])
    for (let i = 0; i < 10; i++) clients.push(await newSessionClient(first.url))
    const refreshes = refreshTraffic(clients, 10)
    const proxied = proxiedTraffic([first.url, second.url], rate, { tokenOf: tokensOf(clients) })
    const begun = performance.now()
    let rotations = 0
    do {
      await pause(1000)
      await keys('rotate')
      rotations++
      // the second gateway knows the next key by then, or it cannot look
      if (rotations % 2 === 0 || options.short) {
        relay.cut()
        tally.add('seconds without a database at one gateway', lagMs / 1000)
        await pause(lagMs)
        relay.mend()
      }
      await pause(options.short ? 5000 : 10_000)
    } while (performance.now() < begun + seconds * 1000)
    await refreshes.stop()
    await proxied.stop()
    const wrong = proxied.samples.filter(({ how }) => how.startsWith('401'))
    tally.promise(wrong.length === 0, countSamples('valid tokens that were refused', wrong))
    // a token of a key that this gateway cannot look up now: no verdict
    promiseAllOk(
      tally,
      'proxied requests',
      proxied.samples.filter(({ how }) => !how.startsWith('503')),
    )
    promiseAllOk(tally, 'refreshes', refreshes.samples)

    const old = clients[0]!.accessToken()
    await keys('rotate', '--now')
    const removed = performance.now()
    for (const { url, name } of gateways) {
      await until(async () => (await ask(`${url}/api/x`, { token: old })).status === 401, `${name} to refuse the removed key`, 20_000)
      const took = Math.round(performance.now() - removed)
      tally.add(`ms until ${name} refused the removed key`, took)
      tally.promise(options.short || took <= KNOWN_MS, `${name} refused the removed key after ${took} ms`)
    }
    for (const client of clients) {
      const end = await client.refresh()
      tally.promise(end.kind === 'rotated', `a refresh after the removal of a key was ${end.kind}`)
      for (const { url } of gateways) {
        const { status } = await until(
          async () => {
            const answer = await ask(`${url}/api/x`, { token: client.accessToken() })
            return answer.status !== 503 && answer
          },
          'a verdict',
          10_000,
        )
        tally.promise(status === 200, `a token of the new key answered ${status}`)
      }
    }
    await checkGateways(tally, gateways)
    return resultOf(
      `2 gateways, ${rate} requests/s, ${rotations} rotations; ${Math.round((performance.now() - begun) / 1000)} s`,
      [countSamples('proxied', proxied.samples), countSamples('refreshes', refreshes.samples)],
      tally,
    )
  },
}
