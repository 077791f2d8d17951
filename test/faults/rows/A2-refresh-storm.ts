/** Every client refreshes within five seconds, after an outage of Postgres. */
import { createHash, randomBytes } from 'node:crypto'
import { uuidv7 } from 'uuidv7'
import { quantile } from '../../support/quantile.ts'
import { familyFaults } from '../harness/families.ts'
import { createTally, type FaultRow, pause } from '../harness/fault-row.ts'
import { allReady } from '../harness/gateways.ts'
import { ask, BrokenExchange, jsonOf } from '../harness/http.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'
import type { Stores } from '../harness/stores.ts'
import { randomOf } from '../storms/random.ts'

const STORM_MS = 5000
const BOUND_MS = 60_000
const OUTAGE_MS = 3000

/** Sessions of users whose passwords nobody needs. @returns their refresh tokens */
async function seed({ postgres }: Stores, count: number): Promise<string[]> {
  const rows = Array.from({ length: count }, (_, n) => {
    const token = `rt_${randomBytes(32).toString('base64url')}`
    const hash = createHash('sha256').update(token).digest('hex')
    return { token, hash, user: uuidv7(), session: uuidv7(), id: uuidv7(), name: `storm${n}` }
  })
  await postgres.sql(
    `WITH r AS (SELECT * FROM json_to_recordset($1) AS r (hash text, "user" uuid, session uuid, id uuid, name text)),
       u AS (INSERT INTO users (id, username, email, email_canonical, password_hash, roles)
         SELECT "user", name, name || '@example.com', name || '@example.com', 'x', '{user}' FROM r RETURNING id),
       s AS (INSERT INTO sessions (id, user_id, amr, auth_time, created_at, last_used_at, expires_at)
         SELECT session, "user", '{pwd}', now(), now(), now(), now() + interval '20 days' FROM r, (SELECT count(*) FROM u) AS made RETURNING id)
     INSERT INTO refresh_tokens (id, session_id, token_hash, created_at, expires_at)
       SELECT id, session, decode(hash, 'hex'), now(), now() + interval '7 days' FROM r, (SELECT count(*) FROM s) AS made`,
    [JSON.stringify(rows.map(({ token: _, ...row }) => row))],
  )
  return rows.map(({ token }) => token)
}

export const row: FaultRow = {
  id: 'A2',
  fault: 'All clients refresh within 5 s, after an outage of Postgres',
  promise: 'All are refreshed within 60 s; nobody is logged out; Retry-After is spread',
  async run(options) {
    const tally = createTally()
    const count = options.short ? 500 : 10_000
    const setting = await startSetting({ workers: 2 })
    const { stores, gateways, balancer } = setting
    const tokens = await seed(stores, count)
    const random = randomOf(options.seed, 1)
    await stores.postgres.stop('immediate')
    await pause(OUTAGE_MS)
    await stores.postgres.start()
    const started = performance.now()
    const doneAt: number[] = []
    const delays = new Map<string, number>()
    const successors = new Map<string, Set<string>>()

    async function client(token: string): Promise<void> {
      await pause(random.below(STORM_MS))
      while (performance.now() - started < 2 * BOUND_MS) {
        try {
          const answer = await ask(`${balancer.url}/auth/refresh`, { body: { refresh_token: token }, timeoutMs: 15_000 })
          tally.add(`${answer.status}`)
          if (answer.status === 200) {
            const known = successors.get(token) ?? new Set()
            successors.set(token, known.add(jsonOf(answer).refresh_token))
            doneAt.push(performance.now() - started)
            return
          }
          if (answer.status !== 503 && answer.status !== 429)
            return tally.promise(false, `a refresh was answered with ${answer.status} ${jsonOf(answer).code}`)
          const wait = answer.headers['retry-after']
          tally.promise(wait !== undefined, 'a 503 had no Retry-After')
          if (wait) delays.set(wait, (delays.get(wait) ?? 0) + 1)
          await pause(Number(wait ?? 1) * 1000)
        } catch (error) {
          if (!(error instanceof BrokenExchange)) throw error
          tally.add(`broken ${error.code}`)
          await pause(200 + random.below(800))
        }
      }
    }
    await Promise.all(tokens.map(client))
    const slowest = Math.max(...doneAt)
    tally.promise(doneAt.length === count, `${count - doneAt.length} clients were not refreshed`)
    tally.promise(slowest <= BOUND_MS, `the last client was refreshed after ${(slowest / 1000).toFixed(0)} s`)
    tally.promise(
      [...successors.values()].every(({ size }) => size === 1),
      'a token has two successors',
    )
    const [{ revoked }] = (await stores.postgres.sql('SELECT count(*)::int AS revoked FROM sessions WHERE revoked_at IS NOT NULL')) as [
      { revoked: number },
    ]
    tally.promise(revoked === 0, `${revoked} sessions were revoked`)
    // clients that were refused together must not come back together
    const refusals = [...delays.values()].reduce((sum, n) => sum + n, 0)
    tally.promise(refusals < 50 || delays.size > 1, `all ${refusals} refusals had the same Retry-After`)
    tally.broken.push(...(await familyFaults(stores.postgres)))
    await allReady(gateways)
    await checkGateways(tally, gateways)
    const spread = [...delays].sort().map(([wait, n]) => `${wait} s × ${n}`)
    return resultOf(
      `${count} clients within ${STORM_MS / 1000} s, 2 gateways with 2 workers, after Postgres was away for ${OUTAGE_MS / 1000} s`,
      [
        `median ${(quantile(doneAt, 0.5) / 1000).toFixed(1)} s, last ${(slowest / 1000).toFixed(1)} s after the start`,
        spread.length > 0 && `Retry-After: ${spread.join(', ')}`,
      ],
      tally,
    )
  },
}
