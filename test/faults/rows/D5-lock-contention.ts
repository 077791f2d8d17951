import { quantile } from '../../support/quantile.ts'
import { familyFaults } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { ask, type HttpAnswer, jsonOf } from '../harness/http.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import { randomOf } from '../storms/random.ts'

const LOCK_TIMEOUT_MS = 2000

export const row: FaultRow = {
  id: 'D5',
  fault: 'parallel refreshes of one family beside a logout of all sessions or a password change',
  promise: 'no deadlock reaches a client, and after the answer no older token works',
  async run(options) {
    const seconds = lengthOf(options, 45, 4)
    const width = options.short ? 20 : 200
    const tally = createTally()
    const random = randomOf(options.seed, 5)
    const { stores, gateways, balancer } = await startSetting({ workers: options.short ? 1 : 2, config: { database: { poolSize: 40 } } })
    const times: number[] = []
    const begun = performance.now()
    let rounds = 0
    while (performance.now() < begun + seconds * 1000) {
      rounds++
      const user = await newSessionClient(balancer.url)
      const password = { current_password: user.password, new_password: `${user.password} again` }
      const tokens = [user.refreshToken()]
      const accesses = [user.accessToken()]
      let endedAt = Number.POSITIVE_INFINITY
      // of the first token alone: a used successor would make the others a reuse
      const refresh = async () => {
        await pause(random.below(80))
        const at = performance.now()
        const answer = await ask(`${balancer.url}/auth/refresh`, { body: { refresh_token: tokens[0] }, timeoutMs: 20_000 })
        times.push(answer.ms)
        tally.add(`refresh ${nameOf(answer)}`)
        if (answer.status === 200) {
          const { refresh_token, access_token } = jsonOf(answer)
          if (!tokens.includes(refresh_token)) tokens.push(refresh_token)
          accesses.push(access_token)
          tally.promise(at < endedAt, 'a refresh that began after the answer succeeded')
        }
        tally.promise([200, 401, 503].includes(answer.status), `a refresh answered ${answer.status}`)
      }
      const finish = async () => {
        await pause(20 + random.below(60))
        const isChange = random.below(2) === 0
        for (let attempt = 0; attempt < 50; attempt++) {
          const answer = isChange
            ? await ask(`${balancer.url}/auth/password/change`, { body: password, token: user.accessToken(), timeoutMs: 20_000 })
            : await ask(`${balancer.url}/auth/logout-all`, { method: 'POST', token: user.accessToken(), timeoutMs: 20_000 })
          tally.add(`${isChange ? 'password change' : 'logout of all'} ${nameOf(answer)}`)
          if (answer.status < 300) endedAt = performance.now()
          // a reuse among the refreshes may have ended the session before
          if (answer.status < 300 || answer.status === 401) return
          tally.promise(answer.status === 503, `the end of all sessions answered ${answer.status}`)
          await pause(100)
        }
      }
      await Promise.all([...Array.from({ length: width }, refresh), finish()])
      if (endedAt === Number.POSITIVE_INFINITY) continue
      for (const token of accesses.slice(-10)) {
        const answer = await ask(`${random.pick(gateways).url}/api/x`, { token })
        tally.promise(answer.status === 401, `an access token answered ${answer.status} after the end of all sessions`)
      }
      for (const token of tokens) {
        const answer = await ask(`${random.pick(gateways).url}/auth/refresh`, { body: { refresh_token: token } })
        tally.promise(answer.status !== 200, 'a refresh token worked after the end of all sessions')
      }
    }
    const p99 = Math.round(quantile(times, 0.99))
    const deadlocks = stores.postgres.log().split('deadlock detected').length - 1
    tally.promise(options.short || p99 < LOCK_TIMEOUT_MS, `the p99 of the refreshes is ${p99} ms`)
    tally.broken.push(...(await familyFaults(stores.postgres)))
    await checkGateways(tally, gateways)
    return resultOf(
      `${rounds} rounds with ${width} parallel refreshes on 2 gateways; ${Math.round((performance.now() - begun) / 1000)} s`,
      [`p99 ${p99} ms`, `${deadlocks} deadlocks in Postgres, each tried again`],
      tally,
    )
  },
}

const nameOf = (answer: HttpAnswer) => `${answer.status} ${jsonOf(answer).code ?? ''}`.trim()
