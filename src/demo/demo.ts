/** `portcullis demo`: the gateway in front of a small API, ready to be tried with curl. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ServeOptions } from '../app/listen.ts'
import { loadConfig } from '../app/load-config.ts'
import { serve } from '../app/serve.ts'
import { isDatabaseThere } from '../platform/db/describe-database.ts'
import { packageFile } from '../platform/lib/version.ts'
import { createLogger } from '../platform/telemetry/logger.ts'
import { startDemoApi } from './api.ts'

const DEMO_CONFIG = packageFile('config/demo.yaml')
const ADMIN_EMAIL = 'admin@example.com'

export interface DemoOptions extends Pick<ServeOptions, 'output' | 'withServices'> {
  file?: string | undefined
  flags: string[]
}

export async function runDemo({ file = DEMO_CONFIG, flags, output, withServices }: DemoOptions): Promise<void> {
  const { config, secrets } = loadConfig({ file, flags, needSecrets: false })
  const { dataDir } = config.database
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const kept = keepSecrets(join(dataDir, 'demo-secrets.json'))
  const api = await startDemoApi()
  const logger = createLogger('warn', output)
  // on a terminal nothing else would happen for some seconds
  if (!isDatabaseThere(config.database)) output.write(`\n  creating the embedded database in ${dataDir}, which takes a few seconds\n`)
  const { port, adminPort } = await serve({
    config: { ...config, routes: config.routes.map((route) => ({ ...route, upstream: [`http://127.0.0.1:${api.port}`] })) },
    secrets: { ...secrets, secretKey: Buffer.from(kept.secretKey, 'base64'), adminEmail: ADMIN_EMAIL, adminPassword: kept.adminPassword },
    logger,
    output,
    adminMustChangePassword: false,
    withServices,
  })
  // through the same output: the warnings come first
  output.write(introduction(`http://localhost:${port}`, `http://localhost:${adminPort}`, kept.adminPassword, dataDir))
}

/** Generates the secrets at the first start and keeps them beside the database. Only the owner may read the file. */
function keepSecrets(file: string): { secretKey: string; adminPassword: string } {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    const made = { secretKey: randomBytes(32).toString('base64'), adminPassword: randomBytes(12).toString('base64url') }
    writeFileSync(file, JSON.stringify(made), { mode: 0o600 })
    return made
  }
}

function introduction(base: string, admin: string, password: string, dataDir: string): string {
  const post = (path: string, body: object) => `curl -s ${base}${path} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`
  const token = `sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/'`
  return `
  Portcullis runs in front of a small shop. Open its page, and register there:

    shop       ${base}/shop/
    account    ${base}/auth/ui/account
    console    ${admin}/console
    an admin   ${ADMIN_EMAIL}   password ${password}
    gateway    ${base}
    admin      ${admin}   (/readyz?verbose, /metrics)
    API docs   ${base}/auth/docs
    mails      ${join(dataDir, 'outbox')}   (files: there is no mail server)

  Programs use the same API. Paste these into another terminal:

    # anyone may see the catalog; orders are for users
    curl -s ${base}/shop/catalog
    curl -s ${base}/shop/orders

    # register: you get an access and a refresh token
    TOKEN=$(${post('/auth/register', { username: 'ann', email: 'ann@example.com', password: 'correct horse battery' })} | ${token})
    # (if ann has an account already, log in instead)
    TOKEN=$(${post('/auth/login', { login: 'ann', password: 'correct horse battery' })} | ${token})
    curl -s ${base}/shop/whoami -H "authorization: Bearer $TOKEN"
    curl -s ${base}/shop/orders -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{"item":"drawbridge"}'

    # ann may not use the admin's part: 403. The admin may:
    curl -s ${base}/shop/admin/orders -H "authorization: Bearer $TOKEN"
    ADMIN=$(${post('/auth/login', { login: ADMIN_EMAIL, password })} | ${token})
    curl -s ${base}/shop/admin/orders -H "authorization: Bearer $ADMIN"

    # a live feed (Ctrl-C ends it), and logout: the token is revoked at once
    curl -sN ${base}/shop/feed -H "authorization: Bearer $TOKEN"
    curl -s -X POST ${base}/auth/logout -H "authorization: Bearer $TOKEN"
    curl -s ${base}/shop/orders -H "authorization: Bearer $TOKEN"

  Ctrl-C stops the demo. All its data is in ${dataDir}.

`
}
