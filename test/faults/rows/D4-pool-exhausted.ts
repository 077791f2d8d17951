import pg from 'pg'
import { until } from '../../support/processes.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { ask, BrokenExchange, jsonOf } from '../harness/http.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { countSamples, promiseAllOk, proxiedTraffic, tokensOf } from '../harness/traffic.ts'

/** A wait for a connection (1 s), then a wait for a lock (2 s), and the hash before them. */
const LONGEST_ANSWER_MS = 8000

export const row: FaultRow = {
  id: 'D4',
  fault: 'the users table is locked and 500 logins arrive at once',
  promise: 'logins get 503 with Retry-After in bounded time, and requests with a token pass',
  async run(options) {
    const seconds = lengthOf(options, 10, 3)
    const logins = options.short ? 60 : 500
    const tally = createTally()
    const { stores, gateways, balancer, clients } = await startSetting({
      gateways: options.short ? 1 : 2,
      workers: options.short ? 1 : 2,
      clients: 5,
    })
    const lock = new pg.Client({ connectionString: stores.databaseUrl })
    lock.on('error', () => {})
    await lock.connect()
    const begun = performance.now()
    const proxied = proxiedTraffic([balancer.url], options.short ? 20 : 100, { tokenOf: tokensOf(clients) })
    await pause(500)
    await lock.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    let waiting = 0
    const watching = setInterval(async () => {
      for (const gateway of gateways)
        waiting = Math.max(waiting, await gateway.metric('portcullis_db_pool_connections{state="waiting"').catch(() => 0))
    }, 300)
    let longest = 0
    const one = async (i: number) => {
      const { username, password } = clients[i % clients.length]!
      try {
        const answer = await ask(`${balancer.url}/auth/login`, { body: { login: username, password }, timeoutMs: 30_000 })
        longest = Math.max(longest, answer.ms)
        tally.add(`logins ${answer.status} ${jsonOf(answer).code ?? ''}`.trim())
        tally.promise(answer.status === 503, `a login answered ${answer.status} while the table was locked`)
        tally.promise(/^[1-9]\d*$/.test(answer.headers['retry-after'] ?? ''), 'a 503 without Retry-After')
      } catch (error) {
        if (!(error instanceof BrokenExchange)) throw error
        tally.add(`logins broken ${error.code}`)
        tally.broken.push(`a login broke: ${error.code}`)
      }
    }
    const locked = performance.now()
    do await Promise.all(Array.from({ length: logins }, (_, i) => one(i)))
    while (performance.now() < locked + seconds * 1000)
    await lock.query('ROLLBACK')
    await lock.end()
    const released = performance.now()
    await until(async () => (await clients[0]!.login()).status === 200, 'a login after the lock', 30_000)
    const back = Math.round(performance.now() - released)
    clearInterval(watching)
    await proxied.stop()
    promiseAllOk(tally, 'proxied requests', proxied.samples)
    tally.promise(options.short || longest < LONGEST_ANSWER_MS, `a login was answered after ${Math.round(longest)} ms`)
    tally.promise(options.short || waiting > 0, 'the metrics show no request that waits for a connection')
    await checkGateways(tally, gateways)
    return resultOf(
      `${logins} logins at once, again and again, while a transaction locks the table; ${Math.round((performance.now() - begun) / 1000)} s`,
      [
        countSamples('proxied', proxied.samples),
        `slowest login ${Math.round(longest)} ms`,
        `at most ${waiting} waiting for a connection`,
        `login again ${back} ms after the lock`,
      ],
      tally,
    )
  },
}
