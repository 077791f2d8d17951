/** Commands on an embedded database that a gateway has open run in that gateway. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { socketOf } from '../../../src/commands/command-socket.ts'
import { run } from '../../../src/commands/run.ts'
import { collectOutput, runCli } from '../../support/cli.ts'
import { call } from '../../support/client.ts'
import { createDataDir } from '../../support/embedded.ts'
import { bare, start, until } from '../../support/processes.ts'

// embedded databases take their time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const dir = mkdtempSync(join(tmpdir(), 'portcullis-socket-'))
const dataDir = join(dir, 'data')
const KEY = randomBytes(32).toString('base64')
const env = { PORTCULLIS_DATABASE__DATA_DIR: dataDir }
const note = `database: embedded in ${dataDir}, through the running gateway\n`

const serve = () =>
  start(process.execPath, ['src/cli.ts', 'serve', '--port', '0', '--set', 'admin.port=0'], {
    env: { ...bare(), ...env, PORTCULLIS_SECRET_KEY: KEY },
  })
const listening = (gateway: ReturnType<typeof serve>) =>
  until(() => /"port":(\d+).*is listening/.exec(gateway.output())?.[1], 'the gateway to listen', 60_000)

let gateway: ReturnType<typeof serve>
let api: { url: string }
beforeAll(async () => {
  await createDataDir(dataDir)
  gateway = serve()
  api = { url: `http://127.0.0.1:${await listening(gateway)}` }
})
afterAll(async () => {
  await gateway.stop()
  rmSync(dir, { recursive: true, force: true })
})

const lastJson = (text: string) => JSON.parse(text.trimEnd().split('\n').at(-1)!)

describe('with a gateway that has the database open', () => {
  it('a command needs no secret key, and says that the gateway ran it', async () => {
    const { code, stdout, stderr } = await runCli(['keys', 'list', '--json'], env)
    expect([code, stderr]).toEqual([0, note])
    expect(lastJson(stdout)).toEqual([expect.objectContaining({ state: 'current' })])
  })

  it('an account is created, used at once, and its sessions end with it', async () => {
    const created = await runCli(
      ['users', 'create', '--email', 'ann@example.com', '--username', 'ann', '--password-stdin'],
      env,
      'ann has a long one\n',
    )
    expect(created).toMatchObject({ code: 0, stderr: note })
    const { body } = await call(api, '/auth/login', { method: 'POST', body: { login: 'ann', password: 'ann has a long one' } })
    const me = () => call(api, '/auth/me', { headers: { authorization: `Bearer ${body.access_token}` } })
    expect((await me()).status).toBe(200)
    expect(await runCli(['users', 'disable', 'ann'], env)).toMatchObject({ code: 0 })
    expect((await me()).status).toBe(401)
    const { stdout } = await runCli(['audit', 'export', '--event', 'user_disable'], env)
    expect(lastJson(stdout)).toMatchObject({ actor: 'command line', user_id: lastJson(created.stdout).id })
  })

  it('a signing key that leaked is removed from the gateway at once', async () => {
    const password = 'kim has a long one'
    await runCli(['users', 'create', '--email', 'kim@example.com', '--username', 'kim', '--password-stdin'], env, `${password}\n`)
    const tokenNow = async () => (await call(api, '/auth/login', { body: { login: 'kim', password } })).body.access_token
    const me = async (token: string) => (await call(api, '/auth/me', { token })).status
    const kids = async () => (await call(api, '/.well-known/jwks.json')).body.keys.map((key: { kid: string }) => key.kid)

    const old = await tokenNow()
    const rotated = await runCli(['keys', 'rotate', '--now', '--json'], env)
    const [{ kid }] = lastJson(rotated.stdout)
    expect(rotated).toMatchObject({ code: 0, stderr: `${note}${kid} signs now; the old key is removed, and its tokens are refused\n` })
    expect([await me(old), await kids()]).toEqual([401, [kid]])

    const fresh = await tokenNow()
    expect(await me(fresh)).toBe(200)
    expect((await runCli(['keys', 'revoke', kid], env)).code).toBe(0)
    expect([await me(fresh), (await kids()).includes(kid)]).toEqual([401, false])
    const unknown = await runCli(['keys', 'revoke', kid], env)
    expect(unknown).toEqual({ code: 1, stdout: '', stderr: `${note}there is no signing key "${kid}"\nSee: portcullis keys list\n` })
  })

  it('files are read by the command, relative to its own folder', async () => {
    const line = (name: string) => JSON.stringify({ username: name, email: `${name}@example.com` })
    const file = join(dir, 'users.ndjson')
    writeFileSync(file, `${line('bob')}\nnonsense\n${line('eve')}\n`)
    const imported = await runCli(['users', 'import', file], env)
    expect(imported).toMatchObject({ code: 1, stderr: expect.stringMatching(/^database: .*\nline 2: /) })
    expect(lastJson(imported.stdout)).toMatchObject({ created: 2, failed: 1 })
    const fromInput = await runCli(['users', 'import', '-'], env, line('fay'))
    expect(lastJson(fromInput.stdout)).toMatchObject({ created: 1 })
    const jwks = join(dir, 'jwks.json')
    writeFileSync(
      jwks,
      JSON.stringify({ keys: [{ kty: 'OKP', crv: 'Ed25519', kid: 'a', alg: 'EdDSA', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }] }),
    )
    const client = await runCli(['clients', 'create', '--name', 'meter', '--jwks', jwks], env)
    expect([client.code, client.stderr]).toEqual([0, note])
  })

  it.each([
    [['users', 'show', 'nobody'], 2],
    [['users', 'grant', 'nobody', 'admin'], 2],
    [['audit', 'verify', '--head', '1:2'], 2],
    [['audit', 'verify'], 0],
    [['migrate', 'status'], 0],
    [['cleanup'], 0],
  ])('%j has the exit code %i', async (args, code) => {
    expect(await runCli(args, env)).toMatchObject({ code })
  })

  it('migrate down is refused, because it needs the database for itself', async () => {
    const { code, stderr } = await runCli(['migrate', 'down', '--yes'], { ...env, PORTCULLIS_SECRET_KEY: KEY })
    expect([code, stderr]).toEqual([1, expect.stringMatching(/the data folder is in use by process \d+ .*: stop that process/)])
  })

  it('a caller that stops reading changes nothing for the gateway', async () => {
    const stdout = new Writable({ write: (_chunk, _encoding, done) => done(Object.assign(new Error('closed'), { code: 'EPIPE' })) })
    const stderr = new Writable({ write: (_chunk, _encoding, done) => done() })
    const code = await run(['audit', 'export'], { stdin: Readable.from([]), stdout, stderr, env })
    expect(code).toBe(0)
    expect((await call(api, '/health')).status).toBe(200)
  })
})

describe('the socket', () => {
  const request = (headers: Record<string, string>) =>
    new Promise<{ status: number | undefined; text: string } | string>((resolve) => {
      const req = http.request({ socketPath: socketOf(dataDir), method: 'POST', headers }, async (response) => {
        resolve({ status: response.statusCode, text: (await response.toArray()).join('') })
      })
      req.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)).end()
    })
  const headerOf = (argv: unknown) => ({
    'x-portcullis-command': Buffer.from(JSON.stringify({ argv, isTerminal: false })).toString('base64url'),
  })

  it('is for its owner alone', () => {
    const { mode } = statSync(socketOf(dataDir))
    expect((mode & 0o777).toString(8)).toBe('600')
  })

  it.each([
    ['serve'],
    ['demo'],
    ['healthcheck'],
    ['check', 'portcullis.yaml'],
    ['routes'],
    ['texts'],
  ])('does not run %s', async (...argv) => {
    const { text } = (await request(headerOf(argv))) as { text: string }
    expect(text).toMatch(/no such command/)
    expect(lastJson(text)).toEqual({ exitCode: 2 })
  })

  it('does not run migrate down', async () => {
    const { text } = (await request(headerOf(['migrate', 'down', '--yes']))) as { text: string }
    expect(text).toContain('stop the gateway first')
    expect(lastJson(text)).toEqual({ exitCode: 2 })
  })

  it.each([
    [{}],
    [{ 'x-portcullis-command': 'bm9uc2Vuc2U' }],
    [headerOf(null)],
    [headerOf([7])],
  ])('survives the header %j', async (headers) => {
    await request(headers as Record<string, string>)
    expect(await runCli(['keys', 'list'], env)).toMatchObject({ code: 0 })
  })
})

it('a socket that a killed gateway left is not used, and the next gateway replaces it', async () => {
  const other = join(dir, 'killed')
  await createDataDir(other)
  const settings = { PORTCULLIS_DATABASE__DATA_DIR: other, PORTCULLIS_SECRET_KEY: KEY }
  const startOther = () =>
    start(process.execPath, ['src/cli.ts', 'serve', '--port', '0', '--set', 'admin.port=0'], { env: { ...bare(), ...settings } })
  const first = startOther()
  await listening(first)
  // the import waits for the rest of its input when the gateway is killed
  const input = new PassThrough()
  const { out, stdout, stderr } = collectOutput()
  const importing = run(['users', 'import', '-'], { stdin: input, stdout, stderr, env: settings })
  await until(() => out.stderr.includes('through the running gateway'), 'the gateway to take the command')
  first.child.kill('SIGKILL')
  expect(await importing).toBe(1)
  expect(out.stderr).toMatch(/\nthe gateway stopped before the command was done/)
  await until(() => first.child.signalCode, 'the end of the gateway')
  expect(existsSync(socketOf(other))).toBe(true)
  expect(await runCli(['users', 'list'], settings)).toMatchObject({ code: 0, stderr: `database: embedded in ${other}\n` })
  expect(await runCli(['users', 'list'], { PORTCULLIS_DATABASE__DATA_DIR: other })).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^PORTCULLIS_SECRET_KEY: is required/),
  })
  const second = startOther()
  await listening(second)
  expect(await runCli(['users', 'list'], settings)).toMatchObject({
    code: 0,
    stderr: `database: embedded in ${other}, through the running gateway\n`,
  })
  await second.stop()
  expect(existsSync(socketOf(other))).toBe(false)
})
