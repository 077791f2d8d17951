/**
 * Measures whether the response time shows that an account exists. Pairs of requests differ only in that; they are sent in turns, one at a
 * time, to a gateway on a real Postgres. Hashes are cheap here, so that they hide no difference. Prints a Markdown table.
 */
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type GatewayProcess, startGatewayProcess } from '../test/support/gateway-process.ts'
import { query, startPostgres } from '../test/support/postgres.ts'

const HELP = `node load/enumeration.ts [--count N]

  --count N   requests of each kind (1000)`

const { values } = parseArgs({ options: { count: { type: 'string', default: '1000' }, help: { type: 'boolean', short: 'h' } } })
const PAUSE_MS = 8
const COUNT = Number(values.count)

interface Answer {
  status: number
  milliseconds: number
}

/** Sends requests on one connection. The time runs from the first byte sent to the last byte received. */
function createClient({ port }: GatewayProcess) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  return (path: string, body: object) =>
    new Promise<Answer>((resolve, reject) => {
      const text = JSON.stringify(body)
      const startedAt = performance.now()
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
      http
        .request({ port, path, method: 'POST', agent, headers }, (res) => {
          res.resume().on('end', () => resolve({ status: res.statusCode!, milliseconds: performance.now() - startedAt }))
        })
        .on('error', reject)
        .end(text)
    })
}

type Ask = (i: number) => [path: string, body: object]

/** The same request for an existing account and for an unknown account. */
const PAIRS: Record<string, { account: Ask; none: Ask }> = {
  'login, wrong password, by name': {
    account: () => ['/auth/login', { login: 'ann', password: 'a wrong password' }],
    none: () => ['/auth/login', { login: 'nob', password: 'a wrong password' }],
  },
  'login, wrong password, by address': {
    account: () => ['/auth/login', { login: 'ann@example.com', password: 'a wrong password' }],
    none: () => ['/auth/login', { login: 'nob@example.com', password: 'a wrong password' }],
  },
  'forgotten password': {
    account: () => ['/auth/password/forgot', { email: 'ann@example.com' }],
    none: () => ['/auth/password/forgot', { email: 'nob@example.com' }],
  },
  'code by mail': {
    account: () => ['/auth/login/email', { email: 'ann@example.com' }],
    none: () => ['/auth/login/email', { email: 'nob@example.com' }],
  },
  'link of a registration, again': {
    account: () => ['/auth/email/verify/request', { email: 'waiting@example.com' }],
    none: () => ['/auth/email/verify/request', { email: 'nobodys@example.com' }],
  },
  registration: {
    account: (i) => ['/auth/register', { username: `taken${i}`, email: 'ann@example.com', password: 'plain zebra of fields' }],
    none: (i) => ['/auth/register', { username: `fresh${i}`, email: `fresh${i}@example.com`, password: 'plain zebra of fields' }],
  },
}

const quantile = (sorted: number[], q: number): number => sorted[Math.floor(q * (sorted.length - 1))]!

/** Probability that a random element of `a` is slower than a random element of `b`: 0.5 means no difference. */
function superiority(a: number[], b: number[]): number {
  let below = 0
  let sum = 0
  for (const x of a) {
    while (below < b.length && b[below]! < x) below++
    sum += below
  }
  return sum / (a.length * b.length)
}

async function main(): Promise<void> {
  if (values.help) return console.log(HELP)
  const many = { limit: 1_000_000_000, windowSeconds: 60 }
  const postgres = await startPostgres()
  await query(postgres.url, 'CREATE DATABASE enumeration')
  const databaseUrl = postgres.url.replace(/\/postgres$/, '/enumeration')
  const gateway = await startGatewayProcess({
    routes: [],
    server: { workers: 1 },
    auth: { emailVerification: 'required', emailLogin: 'on' },
    credentialLimits: { account: many, mail: many },
    stores: { databaseUrl, redisUrl: 'memory' },
  })
  try {
    const ask = createClient(gateway)
    for (const username of ['ann', 'waiting'])
      await ask('/auth/register', { username, email: `${username}@example.com`, password: 'plain zebra of fields' })
    // as if the user had opened the link
    await query(
      databaseUrl,
      `INSERT INTO users (id, username, email, email_canonical, password_hash, roles, email_verified_at)
       SELECT id, username, email, email_canonical, password_hash, '{user}', now() FROM pending_registrations WHERE username = 'ann'`,
    )
    await query(databaseUrl, `DELETE FROM pending_registrations WHERE username = 'ann'`)
    console.log('| request | status | median, account | median, none | difference | account slower than none |')
    console.log('|---|---|---|---|---|---|')
    for (const [name, pair] of Object.entries(PAIRS)) {
      const times: Record<'account' | 'none', number[]> = { account: [], none: [] }
      const statuses = new Set<number>()
      for (let i = -50; i < COUNT; i++) {
        // the order changes in each round, because a request may influence the next
        for (const kind of i % 2 ? (['account', 'none'] as const) : (['none', 'account'] as const)) {
          const { status, milliseconds } = await ask(...pair[kind](i + 50))
          statuses.add(status)
          if (i >= 0) times[kind].push(milliseconds)
          // work after a response must not delay the next request
          await sleep(PAUSE_MS)
        }
      }
      const [account, none] = [times.account.sort((a, b) => a - b), times.none.sort((a, b) => a - b)]
      const [a, b] = [quantile(account, 0.5), quantile(none, 0.5)]
      const ms = (n: number) => `${n.toFixed(2)} ms`
      console.log(
        `| ${name} | ${[...statuses].join(' ')} | ${ms(a)} | ${ms(b)} | ${(((a - b) / b) * 100).toFixed(1)} % | ${superiority(account, none).toFixed(3)} |`,
      )
    }
  } finally {
    await gateway.stop()
    await postgres.stop()
  }
}

await main()
