/** Builds the gateways in Go, each in its own module: `go install` cannot get a version that is no longer listed. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { has } from '../../test/support/processes.ts'
import { GO_GATEWAYS, type GoGateway } from './subjects/go.ts'

const BUILD_TIMEOUT_MS = 15 * 60_000

/** @returns the names of the gateways that could not be built; the compiler's messages go to stderr */
export function installGoGateways(bin: string): string[] {
  if (!has('go')) throw new Error('go is missing: apt-get install golang-go (1.24 or newer; bookworm has it in backports)')
  return GO_GATEWAYS.filter((gateway) => !build(gateway, bin)).map(({ name }) => name)
}

function build({ name, modules, target }: GoGateway, bin: string): boolean {
  const folder = join(bin, 'src', name)
  mkdirSync(folder, { recursive: true })
  const required = Object.entries(modules).map(([path, version]) => `require ${path} ${version}`)
  writeFileSync(join(folder, 'go.mod'), ['module bench', 'go 1.24', ...required, ''].join('\n\n'))
  // further modules of our own source are found by its imports
  const isOurs = target === '.'
  if (isOurs) copyFileSync(fileURLToPath(new URL(`./subjects/${name}.go`, import.meta.url)), join(folder, 'main.go'))
  const go = (...args: string[]) =>
    spawnSync('nice', ['-n', '19', 'go', ...args], {
      cwd: folder,
      env: { ...process.env, GOFLAGS: '-p=2 -mod=mod' },
      stdio: 'inherit',
      timeout: BUILD_TIMEOUT_MS,
    }).status === 0
  return (!isOurs || go('mod', 'tidy')) && go('build', '-o', join(bin, name), target)
}
