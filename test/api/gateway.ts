/** A gateway in processes of its own beside a real Postgres and a real Redis, with every group of endpoints switched on. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CLI, COMPLAINT } from '../support/gateway-process.ts'
import { startMailServer } from '../support/mail-server.ts'
import { startPostgres } from '../support/postgres.ts'
import { bare, freePort, start, until } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'

export interface ApiGateway {
  url: string
  databaseUrl: string
  /** Log lines about an uncaught error or an `internal` answer. */
  complaints(): string[]
  stop(): Promise<void>
}

/** Nobody comes near it: a refusal by a limit would hide the real answer. */
const MANY = { limit: 1_000_000, windowSeconds: 60 }
const BUDGETS = [
  'register',
  'taken',
  'login',
  'address',
  'account',
  'mfa',
  'recovery',
  'mail',
  'provider',
  'passkey',
  'emailLogin',
  'refresh',
  'client',
  'token',
]

export async function startApiGateway(): Promise<ApiGateway> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-api-'))
  const [port, adminPort] = [await freePort(), await freePort()]
  const [postgres, redis, mail] = await Promise.all([startPostgres(), startRedis(), startMailServer()])
  const url = `http://localhost:${port}`
  const databaseUrl = postgres.url
  const file = join(dir, 'portcullis.json')
  writeFileSync(
    file,
    JSON.stringify({
      server: { host: '127.0.0.1', port, publicUrl: url, overload: { maxLoopDelayMs: 0 } },
      admin: { port: adminPort },
      database: { url: databaseUrl, dataDir: join(dir, 'data') },
      redis: { url: redis.url },
      mail: { url: mail.url },
      auth: {
        browser: { enabled: true },
        passkeys: { enabled: true },
        emailLogin: 'on',
        admin: { maxAuthAgeSeconds: 86_400 },
        apiKeys: { maxPerUser: 10_000 },
        password: { argon2: { memoryKiB: 1024, passes: 1, queue: 500 } },
      },
      limits: {
        default: [],
        exempt: ['127.0.0.0/8'],
        streams: 1_000_000,
        credentials: Object.fromEntries(BUDGETS.map((name) => [name, MANY])),
      },
      docs: { enabled: true },
      routes: [],
    }),
  )
  const log: string[] = []
  const gateway = start(process.execPath, [CLI, 'serve', '--config', file], {
    env: { ...bare(), NODE_ENV: 'production', PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64') },
  })
  for (const stream of [gateway.child.stdout, gateway.child.stderr]) stream?.on('data', (chunk) => log.push(String(chunk)))
  const stop = async () => {
    await gateway.stop()
    await Promise.all([postgres.stop(), redis.stop(), mail.close()])
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok, 'the gateway', 180_000)
  } catch (error) {
    await stop()
    throw new Error(`${error}\n${gateway.output()}`)
  }
  return {
    url,
    databaseUrl,
    complaints: () =>
      log
        .join('')
        .split('\n')
        .filter((line) => COMPLAINT.test(line)),
    stop,
  }
}
