/** Clients that others' generators make of the document: without a warning, compiled, and used against the gateway. */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { call } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { TOOL_PATH } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

// generators and compilers take their time on a busy machine
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 })

const run = promisify(execFile)
const SOURCES = resolve('test/integration/openapi')
const CACHE = resolve('node_modules/.cache/portcullis-openapi')
const gateway = useGateway({
  config: {
    server: { publicUrl: 'https://api.example.com' },
    docs: { enabled: true },
    auth: { browser: { enabled: true }, passkeys: { enabled: true }, emailLogin: 'on', proofOfWork: { enabled: false } },
  },
})
const folder = mkdtempSync(join(tmpdir(), 'portcullis-clients-'))
const file = join(folder, 'openapi.json')
beforeAll(async () => {
  writeFileSync(file, JSON.stringify((await call(gateway, '/auth/openapi.json')).body))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs in the folder. @returns what it printed */
async function output(command: string, args: string[], cwd = folder): Promise<{ stdout: string; stderr: string }> {
  try {
    return await run(command, args, { cwd, env: { ...process.env, PATH: TOOL_PATH, NO_COLOR: '1' } })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${command} ${args.join(' ')}\n${stdout}\n${stderr}`)
  }
}

/** Installs the packages of typescript/package-lock.json, once. */
async function installPackages(): Promise<string> {
  const lock = readFileSync(join(SOURCES, 'typescript/package-lock.json'), 'utf8')
  const installed = join(CACHE, 'installed.json')
  if (existsSync(installed) && readFileSync(installed, 'utf8') === lock) return CACHE
  mkdirSync(CACHE, { recursive: true })
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(SOURCES, 'typescript', name), join(CACHE, name))
  await output('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], CACHE)
  writeFileSync(installed, lock)
  return CACHE
}

it('openapi-typescript makes types with which a program compiles strictly and works', async () => {
  const packages = await installPackages()
  symlinkSync(join(packages, 'node_modules'), join(folder, 'node_modules'))
  cpSync(join(SOURCES, 'typescript/package.json'), join(folder, 'package.json'))
  cpSync(join(SOURCES, 'typescript/story.ts'), join(folder, 'story.ts'))
  const made = await output(process.execPath, ['node_modules/openapi-typescript/bin/cli.js', file, '-o', 'schema.d.ts'])
  expect(`${made.stdout}${made.stderr}`).not.toMatch(/warn/i)
  const types = ['--typeRoots', resolve('node_modules/@types'), '--types', 'node']
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--noEmit']
  const modules = ['--module', 'nodenext', '--target', 'es2023', '--allowImportingTsExtensions']
  await output(process.execPath, ['node_modules/typescript/bin/tsc', ...strict, ...modules, ...types, 'story.ts'])
  const { stdout } = await output(process.execPath, ['story.ts', gateway.url, 'tsann'])
  const advised = ['check the password', 'log in again']
  expect(JSON.parse(stdout)).toEqual([201, 'invalid_credentials', advised[0], 'tsann', 'Bearer', 2, 1, 204, 'token_revoked', advised[1]])
})

const PYTHON = { program: 'openapi-python-client', remedy: 'pip install openapi-python-client==0.29.1' }
describeWith(PYTHON, 'a generated client in Python', () => {
  it('openapi-python-client makes a client without a warning, and a program with it works', async () => {
    for (const name of ['config.yaml', 'story.py']) cpSync(join(SOURCES, 'python', name), join(folder, name))
    const options = ['--output-path', 'generated', '--meta', 'none', '--config', 'config.yaml', '--fail-on-warning']
    const made = await output('openapi-python-client', ['generate', '--path', file, ...options])
    expect(`${made.stdout}${made.stderr}`).not.toMatch(/warning|skipping/i)
    const python = (await output('sh', ['-c', 'head -1 "$(command -v openapi-python-client)"'])).stdout.trim().replace(/^#!/, '')
    await output(python, ['-m', 'compileall', '-q', 'generated'])
    const { stdout } = await output(python, ['story.py', gateway.url, 'pyann'])
    expect(JSON.parse(stdout)).toEqual([201, 'invalid_credentials', 'pyann', 'Bearer', 2, 1, true, 204, 'token_revoked'])
  })
})
