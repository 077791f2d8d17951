/** Histories of refreshes, logouts, changes of passwords and of roles under random faults, judged as a whole. */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { claimsOf } from '../../support/session.ts'
import { familyFaults } from '../harness/families.ts'
import { createTally, type FaultRow, lengthOf, pause } from '../harness/fault-row.ts'
import { allReady, promiseHealthy } from '../harness/gateways.ts'
import { ask, jsonOf } from '../harness/http.ts'
import { createInjector, startRelayed } from '../harness/random-faults.ts'
import { judge } from '../history/judge.ts'
import { createRecorder, type Held, heldOf, type Person } from '../history/recorder.ts'
import { type Random, randomOf } from '../storms/random.ts'

const ROLE = 'editor'
const SESSIONS = 2
const GRACE_SECONDS = 60
/** Two seconds are promised: a poll each second, which is given up after a second. One more for a busy machine. */
const REVOCATION_MS = 3000
const ADMIN = { login: 'root@example.com', password: 'plain zebra of fields 7' }

export const row: FaultRow = {
  id: 'H1',
  fault: 'Random faults: kill -9 of gateways and workers, Postgres restarts, Redis killed, networks cut or vanished, lost COMMITs',
  promise:
    'One order explains every history: one successor of each refresh token, nobody logged out without a cause, no access token or role accepted after its revocation',
  async run(options) {
    const tally = createTally()
    const seconds = lengthOf(options, 300, 20)
    const relayed = await startRelayed({
      gateways: 2,
      workers: 2,
      env: { PORTCULLIS_ADMIN_EMAIL: ADMIN.login, PORTCULLIS_ADMIN_PASSWORD: ADMIN.password },
      config: {
        auth: { roles: { user: {}, [ROLE]: {}, admin: { inherits: ['user'] } }, refresh: { graceSeconds: GRACE_SECONDS } },
        // faults make logins fail; they are not what is tried here
        limits: { credentials: { account: { limit: 100_000, windowSeconds: 3600 } } },
      },
    })
    const { gateways, balancer, stores } = relayed.setting
    const recorder = createRecorder(balancer.url)
    const injector = createInjector(relayed, randomOf(options.seed, 1))
    const firstPasswords = new Map<string, string>()
    let isOver = false
    const adminToken = await signInAsAdmin(balancer.url)

    async function register(n: number): Promise<Person> {
      const username = `u${n}x${randomBytes(4).toString('hex')}`
      const password = `plain zebra ${randomBytes(6).toString('hex')}`
      const answer = await ask(`${balancer.url}/auth/register`, { body: { username, email: `${username}@example.com`, password } })
      if (answer.status !== 201) throw new Error(`register answered ${answer.status} ${answer.text}`)
      firstPasswords.set(username, password)
      return { id: claimsOf(heldOf(answer).bearer).sub, username, passwords: [password] }
    }

    /** Again until the outcome is known. Null: the run is over. */
    async function login(person: Person, random: Random): Promise<Held | null> {
      for (let n = 0; !isOver; n++) {
        const password = person.passwords[n % person.passwords.length]!
        const outcome = await recorder.login(person, password)
        if (outcome.kind === 'ok') return outcome.value
        await pause(50 + random.below(200))
      }
      return null
    }

    /** Tokens that should soon be refused, at every gateway. */
    async function probe(person: Person, held: Held): Promise<void> {
      for (let n = 0; n < 16 && !isOver; n++) {
        for (const gateway of gateways) await recorder.use(person, held, gateway)
        await pause(300)
      }
    }
    const probes: Promise<void>[] = []

    async function session(person: Person, random: Random): Promise<void> {
      let held = await login(person, random)
      while (held && !isOver) {
        const draw = random.below(100)
        if (draw < 45) {
          await recorder.use(person, held, random.pick(gateways))
        } else if (draw < 95) {
          // two tabs of a browser sometimes refresh at the same time
          const tabs = random.below(5) === 0 ? 2 : 1
          const presented: Held = held
          const outcomes = await Promise.all(Array.from({ length: tabs }, () => recorder.refresh(person, presented)))
          const renewed = outcomes.find((outcome) => outcome.kind === 'ok')
          if (renewed) held = renewed.value
          else if (outcomes.some(({ kind }) => kind === 'refused')) {
            probes.push(probe(person, presented))
            held = await login(person, random)
          }
        } else {
          const outcome = await recorder.logout(person, held)
          if (outcome.kind !== 'unknown') {
            probes.push(probe(person, held))
            held = await login(person, random)
          }
        }
        await pause(random.below(400))
      }
    }

    async function owner(person: Person, random: Random): Promise<void> {
      while (!isOver) {
        await pause(2000 + random.below(4000))
        const kind = random.pick(['logoutAll', 'password', 'grant', 'revoke', 'grant', 'revoke'] as const)
        if (kind === 'grant' || kind === 'revoke') {
          const outcome = await recorder.changeRole(kind, person, ROLE, adminToken)
          tally.add(`${kind} ${outcome.kind}`)
          continue
        }
        const held = await login(person, random)
        if (!held) return
        if (kind === 'logoutAll') {
          const outcome = await recorder.logoutAll(person, held)
          tally.add(`logout of all ${outcome.kind}`)
          if (outcome.kind !== 'refused') probes.push(probe(person, held))
          continue
        }
        const [from] = person.passwords
        const to = `plain zebra ${randomBytes(6).toString('hex')}`
        // a login that is sent meanwhile may need either
        person.passwords = [from!, to]
        const outcome = await recorder.changePassword(person, held, from!, to)
        tally.add(`change of password ${outcome.kind}`)
        if (outcome.kind === 'ok') person.passwords = [to]
        else if (outcome.kind === 'refused') person.passwords = [from!]
        else await findPassword(person, random)
      }
    }

    /** After a change without an answer: which of the passwords counts? */
    async function findPassword(person: Person, random: Random): Promise<void> {
      for (let n = 0; !isOver; n++) {
        const password = person.passwords[n % 2]!
        const { kind } = await recorder.login(person, password)
        if (kind === 'ok') {
          person.passwords = [password]
          return
        }
        await pause(100 + random.below(200))
      }
    }

    const people: Person[] = []
    for (let n = 0; n < (options.short ? 4 : 8); n++) people.push(await register(n))
    const started = performance.now()
    const loops = people.flatMap((person, n) => [
      ...Array.from({ length: SESSIONS }, (_, s) => session(person, randomOf(options.seed, 100 * n + s + 10))),
      owner(person, randomOf(options.seed, 100 * n + 99)),
    ])
    const end = started + seconds * 1000
    while (performance.now() < end) {
      await injector.next()
      await pause(options.short ? 1000 : 3000)
    }
    await allReady(gateways)
    // what was revoked last is probed, too
    await pause(REVOCATION_MS + 2000)
    isOver = true
    await Promise.all(loops)
    await Promise.all(probes)
    const took = (performance.now() - started) / 1000

    const bounds = { revocationMs: REVOCATION_MS, accessTtlMs: 900_000, graceMs: GRACE_SECONDS * 1000 }
    const { operations } = recorder
    const { broken, counts } = judge({ operations, blindTimes: injector.blindTimes }, bounds, firstPasswords)
    if (broken.length > 0 && process.env.FAULTS_KEEP) {
      const file = join(tmpdir(), `portcullis-history-${process.pid}.json`)
      writeFileSync(file, JSON.stringify({ operations, blindTimes: injector.blindTimes }))
      console.log(`the history: ${file}`)
    }
    tally.broken.push(...broken, ...(await familyFaults(stores.postgres)))
    tally.promise(counts.endedSessions > 0 && counts.refusedUses > 0, 'the history has no ended session, or no refused token')
    for (const gateway of gateways) promiseHealthy(gateway, tally)
    const faults = [...injector.counts].map(([name, n]) => `${n} × ${name}`).join(', ')
    return {
      what: `2 gateways with 2 workers each, ${people.length} users with ${SESSIONS} sessions each; ${took.toFixed(0)} s; ${faults}`,
      counts:
        `${counts.operations} operations, ${counts.unknown} of them without an answer; ${counts.sessions} sessions, ${counts.endedSessions} ended; ` +
        `${counts.uses} uses of access tokens, ${counts.refusedUses} refused; latest acceptance ${counts.latestAcceptanceMs.toFixed(0)} ms after a revocation was answered; ${tally.text()}`,
      broken: tally.broken,
    }
  },
}

async function signInAsAdmin(url: string): Promise<string> {
  const login = await ask(`${url}/auth/login`, { body: ADMIN })
  const body = { current_password: ADMIN.password, new_password: `${ADMIN.password} 8` }
  const changed = await ask(`${url}/auth/password/change`, { body, token: jsonOf(login).access_token })
  if (changed.status !== 200) throw new Error(`the administrator got ${login.status} and ${changed.status}`)
  return jsonOf(changed).access_token
}
