import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterEach, expect, it } from 'vitest'

const LAUNCHER = resolve('bin/portcullis.js')
const REPORT = 'console.log(JSON.stringify({ entry: import.meta.url, args: process.argv.slice(2) })); process.exitCode = 3'
const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** A package with the real launcher and these files. @param node the smallest version that `engines` accepts */
function packageWith(node: string, files: Record<string, string>, { below = '', pinned = false, installed = true } = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-launcher-'))
  folders.push(folder)
  const root = join(folder, below)
  for (const [path, text] of Object.entries({
    'package.json': JSON.stringify({ type: 'module', engines: { node: `>=${node}` } }),
    ...files,
  })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  cpSync(LAUNCHER, join(root, 'bin/portcullis.js'))
  if (installed) mkdirSync(join(root, 'node_modules'))
  if (pinned) {
    mkdirSync(join(root, 'node_modules/node/bin'), { recursive: true })
    symlinkSync(process.execPath, join(root, 'node_modules/node/bin/node'))
  }
  return root
}
const launch = (root: string, ...args: string[]): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, [join(root, 'bin/portcullis.js'), ...args], { encoding: 'utf8' })

it('`portcullis` of package.json is the launcher, and it may be executed', () => {
  const { bin } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(resolve(bin.portcullis)).toBe(LAUNCHER)
  accessSync(LAUNCHER, constants.X_OK)
  expect(readFileSync(LAUNCHER, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
})

it.each([
  ['the source in a checkout', { 'src/cli.ts': REPORT, 'dist/src/cli.js': REPORT }, '', /src\/cli\.ts$/],
  ['the build without a source', { 'dist/src/cli.js': REPORT }, '', /dist\/src\/cli\.js$/],
  ['the build below node_modules', { 'src/cli.ts': REPORT, 'dist/src/cli.js': REPORT }, 'node_modules/portcullis', /dist\/src\/cli\.js$/],
])('runs %s, with all arguments', (_what, files, below, entry) => {
  const { stdout, stderr, status } = launch(packageWith('22.19', files, { below }), 'users', 'list', '--json')
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual({ entry: expect.stringMatching(entry), args: ['users', 'list', '--json'] })
  expect(status).toBe(3)
})

it('hands over to the installed Node when the running Node is too old, with arguments and exit code', () => {
  const { stdout, status } = launch(packageWith('99.1', { 'src/cli.ts': REPORT }, { pinned: true }), 'check')
  expect(JSON.parse(stdout).args).toEqual(['check'])
  expect(status).toBe(3)
})

it('passes SIGTERM on to the installed Node', async () => {
  const waits = 'process.on("SIGTERM", () => process.exit(5)); setInterval(() => {}, 60_000); console.log("ready")'
  const root = packageWith('99.1', { 'src/cli.ts': waits }, { pinned: true })
  const child = spawn(process.execPath, [join(root, 'bin/portcullis.js')], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([5, null])
})

it.each([
  [
    'a Node that is too old',
    packageWith.bind(null, '99.1', { 'dist/src/cli.js': REPORT }),
    /^portcullis: it needs Node 99\.1 or newer, and this is Node \d+\.\d+\.\d+ \(.+\)\.\nInstall a newer Node, or run `npm ci`/,
  ],
  [
    'a checkout without packages',
    packageWith.bind(null, '22.19', { 'src/cli.ts': REPORT }, { installed: false }),
    /^portcullis: its packages are not installed\.\nRun `npm ci` in /,
  ],
  ['a package without a build', packageWith.bind(null, '22.19', {}), /^portcullis: there is no .*cli\.js\.\nRun `npm run build`/],
])('%s: two lines say what is wrong and what to do', (_what, make, text) => {
  const { stdout, stderr, status } = launch(make())
  expect(stderr).toMatch(text)
  expect(stderr.trimEnd().split('\n')).toHaveLength(2)
  expect(stdout).toBe('')
  expect(status).toBe(2)
})
