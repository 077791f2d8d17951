/** Installs the packages of other programs and builds Go programs, outside the packages of the product. What is there already stays. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { has } from '../support/processes.ts'

export const CACHE = fileURLToPath(new URL('../../node_modules/.cache/portcullis-real', import.meta.url))
const NPM = ['express@5.3.0', 'socket.io@4.8.4', 'socket.io-client@4.8.4']
const PIP = ['gunicorn==23.0.0', 'django==5.2.8', 'requests==2.32.5']

/** A path, or the reason why there is none. */
export type Tool = { path: string } | { missing: string }

export interface Tools {
  npm: Tool
  python: Tool
  /** @returns the binary of this Go file */
  go(source: string): Tool
}

const run = (command: string, args: string[], cwd = CACHE) =>
  spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8', timeout: 180_000 })

export function prepareTools(): Tools {
  mkdirSync(CACHE, { recursive: true })
  return { npm: installNpm(), python: installPython(), go: buildGo }
}

function installNpm(): Tool {
  const folder = join(CACHE, 'npm')
  if (existsSync(join(folder, 'node_modules/socket.io-client'))) return { path: folder }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"private":true}')
  const { status } = run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...NPM], folder)
  return status === 0 ? { path: folder } : { missing: 'npm cannot install its packages' }
}

function installPython(): Tool {
  if (!has('python3')) return { missing: 'python3 is not installed' }
  const python = join(CACHE, 'venv/bin/python')
  const isThere = () => run(python, ['-c', 'import gunicorn, django, requests']).status === 0
  if (isThere()) return { path: python }
  run('python3', ['-m', 'venv', 'venv'])
  run(python, ['-m', 'pip', 'install', '-q', ...PIP])
  return isThere() ? { path: python } : { missing: 'pip cannot install its packages' }
}

function buildGo(source: string): Tool {
  if (!has('go')) return { missing: 'go is not installed' }
  const binary = join(CACHE, source.replace(/\W+/g, '-'))
  const { status, stderr } = run('go', ['build', '-o', binary, source], fileURLToPath(new URL('.', import.meta.url)))
  return status === 0 ? { path: binary } : { missing: `go cannot build ${source}: ${stderr}` }
}
