/** Which database a command works with: it names the database, creates none by accident, and asks before it deletes data. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { run } from '../../../src/commands/run.ts'
import { collectOutput, runCli } from '../../support/cli.ts'
import { createDataDir } from '../../support/embedded.ts'
import { createDatabase } from '../../support/postgres.ts'

const base = mkdtempSync(join(tmpdir(), 'portcullis-database-of-commands-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
const KEY = randomBytes(32).toString('base64')

let folders = 0
let dataDir: string
let env: NodeJS.ProcessEnv
beforeEach(() => {
  dataDir = join(base, String(folders++))
  env = { PORTCULLIS_SECRET_KEY: KEY, PORTCULLIS_DATABASE__DATA_DIR: dataDir }
})

describe('without an embedded database', () => {
  it.each([
    ['users', 'list'],
    ['users', 'create', '--email', 'ann@example.com', '--username', 'ann'],
    ['keys', 'list'],
    ['clients', 'list'],
    ['audit', 'verify'],
    ['audit', 'export'],
    ['cleanup'],
    ['migrate', 'status'],
    ['migrate', 'down', '--yes'],
    ['migrate', 'up', '--dry-run'],
    ['migrate', 'down', '--dry-run'],
  ])('%s %s creates none, and exits 2', async (...args) => {
    expect(await runCli(args.filter(Boolean), env)).toEqual({
      code: 2,
      stdout: '',
      stderr: `database: there is no embedded database in ${dataDir}\n  set DATABASE_URL, or database.dataDir to the folder of the gateway\n`,
    })
    expect(existsSync(dataDir)).toBe(false)
  })

  it('migrate up creates it, and the others then work with it', async () => {
    const up = await runCli(['migrate', 'up'], env)
    expect([up.code, up.stderr]).toEqual([0, `database: embedded in ${dataDir}\n`])
    expect(readdirSync(dataDir)).toContain('pglite')
    expect(await runCli(['users', 'list'], env)).toEqual({ code: 0, stdout: '(none)\n', stderr: `database: embedded in ${dataDir}\n` })
  })
})

it('names a Postgres database without user and password', async () => {
  const url = await createDatabase(inject('postgresUrl'))
  const { host, pathname, username } = new URL(url)
  const { code, stderr } = await runCli(['keys', 'list'], { ...env, DATABASE_URL: url })
  expect([code, stderr]).toEqual([0, `database: ${pathname.slice(1)} on ${host}\n`])
  expect(username).not.toBe('')
})

describe('migrate down', () => {
  beforeEach(() => createDataDir(dataDir))
  const newest = async () => {
    const { stdout } = await runCli(['migrate', 'status'], env)
    return /.*\d{4}-\d\d-.*Z\n$/.test(stdout)
  }
  const onTerminal = async (answer: string, ...options: string[]) => {
    const { out, stdout, stderr } = collectOutput()
    const stdin = Object.assign(Readable.from([answer]), { isTTY: true })
    const code = await run(['migrate', 'down', ...options], { stdin, stdout, stderr: Object.assign(stderr, { isTTY: true }), env })
    return { code, ...out }
  }

  it('needs --yes without a terminal', async () => {
    expect(await runCli(['migrate', 'down'], env, 'yes\n')).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'migrate down deletes data, and without a terminal it cannot ask: confirm it with --yes\nSee: portcullis migrate down --help\n',
    })
    expect(await newest()).toBe(true)
  })

  it.each(['no\n', 'y\n', '\n', ''])('changes nothing for the answer %j', async (answer) => {
    const { code, stdout, stderr } = await onTerminal(answer)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^database: embedded in .*\nRevert \d{4}-[a-z-]+ and delete its data\? \[yes\/no\] .*nothing was changed\n$/s)
    expect(await newest()).toBe(true)
  })

  it('reverts the newest step for the answer yes, and with --yes without asking', async () => {
    expect(await onTerminal('yes\n')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^down: \d{4}-[a-z-]+\n$/) })
    expect(await newest()).toBe(false)
    expect(await runCli(['migrate', 'down', '--yes'], env)).toMatchObject({ code: 0, stderr: `database: embedded in ${dataDir}\n` })
  })

  it('reverts every step after a named step, and names them all before', async () => {
    const asked = await onTerminal('no\n', '--to', '0008-devices')
    expect(asked.stderr).toMatch(/Revert (?:\d{4}-[a-z-]+, )*0010-audit-seal, 0009-keys-and-clients and delete their data\? /)
    expect(await newest()).toBe(true)
    const { code, stdout } = await runCli(['migrate', 'down', '--to', '0008-devices', '--yes'], env)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^down: .*0010-audit-seal, 0009-keys-and-clients\n$/)])
    expect(await runCli(['migrate', 'down', '--to', '0008-devices', '--yes'], env)).toMatchObject({ code: 0, stdout: 'nothing to do\n' })
  })

  it.each(['0009-keys-and-clients', '0008', 'nothing'])('does not go down to %s, which is not applied', async (step) => {
    await runCli(['migrate', 'down', '--to', '0008-devices', '--yes'], env)
    const { code, stderr } = await runCli(['migrate', 'down', '--to', step, '--yes'], env)
    expect([code, stderr]).toEqual([2, expect.stringContaining(`${step} is not an applied step: see portcullis migrate status`)])
  })
})
