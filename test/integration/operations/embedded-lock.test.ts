import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { login, newUser } from '../../support/client.ts'
import { startGateway } from '../../support/gateway.ts'
import { bare } from '../../support/processes.ts'
import { me } from '../../support/session.ts'

// embedded databases take their time to start on a busy machine
vi.setConfig({ testTimeout: 120_000 })

let dataDir: string
let lock: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'portcullis-lock-'))
  lock = join(dataDir, 'portcullis.lock')
})
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

/** A command of the real program, in a process of its own, on the same folder. */
function secondProcess() {
  const file = join(dataDir, 'config.json')
  writeFileSync(file, JSON.stringify({ database: { url: 'embedded', dataDir } }))
  const env = { ...bare(), PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64') }
  return spawnSync(process.execPath, ['src/cli.ts', 'users', 'list', '--config', file], { env, encoding: 'utf8' })
}

it('a second process on the data folder of a gateway is refused, with what to do', async () => {
  const gateway = await startGateway({ stores: 'embedded', dataDir })
  const { token } = await newUser(gateway)
  const { status, stderr } = secondProcess()
  expect(status).toBe(1)
  expect(stderr).toMatch(/the data folder is in use by .* \(.*portcullis\.lock\): stop that process, or use postgres:\/\/ for several/)
  // and the first is none the worse for it
  expect(await me(gateway, token)).toBe(200)
  await gateway.close()
})

it('the lock ends with the gateway', async () => {
  const gateway = await startGateway({ stores: 'embedded', dataDir })
  await gateway.close()
  expect(existsSync(lock)).toBe(false)
})

it('the lock of a process that was killed is taken over, and the data with it', async () => {
  const gateway = await startGateway({ stores: 'embedded', dataDir })
  const user = await newUser(gateway)
  await gateway.close()
  // a socket whose owner was killed stays behind as a file that nobody listens on
  spawnSync(process.execPath, [
    '-e',
    `require('node:net').createServer().listen(${JSON.stringify(lock)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ])
  expect(statSync(lock).isSocket()).toBe(true)
  const again = await startGateway({ stores: 'embedded', dataDir, secretKey: gateway.secretKey })
  expect(statSync(lock).isSocket()).toBe(true)
  expect(await me(again, (await login(again, user)).token)).toBe(200)
  await again.close()
})
