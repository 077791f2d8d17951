/**
 * Lets libraries of other makers verify our access tokens, and compares with the table in docs/verifiers.md. Each library also has to refuse
 * the same tokens for another audience and with a changed signature.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { newUser } from '../support/client.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { has } from '../support/processes.ts'
import { claimsOf } from '../support/session.ts'
import { CACHE, type Tool } from './cache.ts'

const ALGORITHMS = ['ES256', 'EdDSA', 'RS256'] as const
const TYPES = ['at+jwt', 'JWT'] as const
const COLUMNS = [...ALGORITHMS, ...TYPES]

const NPM = [
  'jose@6.2.17',
  'jsonwebtoken@9.0.3',
  'jwks-rsa@4.1.0',
  'oauth4webapi@3.8.8',
  'express-oauth2-jwt-bearer@1.10.0',
  'fast-jwt@6.3.6',
]
const PIP = ['pyjwt==2.15.1', 'cryptography==50.0.2', 'authlib==1.9.10', 'joserfc==1.8.0']
const GO = ['github.com/golang-jwt/jwt/v5@v5.3.1', 'github.com/MicahParks/keyfunc/v3@v3.9.1', 'github.com/lestrrat-go/jwx/v3@v3.4.0']

const FOLDER = join(CACHE, 'verifiers')
const source = (file: string) => fileURLToPath(new URL(`verifiers/${file}`, import.meta.url))

const run = (command: string, args: string[], cwd: string) =>
  spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8', timeout: 300_000 })

/** @param install runs commands in a folder of its own, until one fails. A folder that is there is complete. */
function prepared(name: string, isThere: (folder: string) => boolean, install: [string, string[]][]): Tool {
  const folder = join(FOLDER, name)
  if (isThere(folder)) return { path: folder }
  mkdirSync(folder, { recursive: true })
  if (name === 'javascript') writeFileSync(join(folder, 'package.json'), '{"private":true}')
  if (name === 'go') copyFileSync(source('go/main.go'), join(folder, 'main.go'))
  for (const [command, args] of install) {
    if (command.includes('/') ? !existsSync(command) : !has(command)) return { missing: `${command} is not installed` }
    const { status, stderr } = run(command, args, folder)
    if (status !== 0) return { missing: `${command} ${args[0]} failed: ${stderr.slice(-300)}` }
  }
  return { path: folder }
}

interface Program {
  language: string
  command: string[] | null
  folder: string
  missing?: string
}

function programs(): Program[] {
  const program = (language: string, tool: Tool, command: (folder: string) => string[]): Program =>
    'missing' in tool
      ? { language, command: null, folder: '', missing: tool.missing }
      : { language, command: command(tool.path), folder: tool.path }
  const python = join(FOLDER, 'python/venv/bin/python')
  return [
    program(
      'javascript',
      prepared('javascript', (folder) => existsSync(join(folder, 'node_modules/fast-jwt')), [
        ['npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...NPM]],
      ]),
      () => [process.execPath, source('javascript.mjs')],
    ),
    program(
      'python',
      prepared('python', () => existsSync(python) && run(python, ['-c', 'import jwt, authlib, joserfc'], FOLDER).status === 0, [
        ['python3', ['-m', 'venv', 'venv']],
        [python, ['-m', 'pip', 'install', '-q', ...PIP]],
      ]),
      () => [python, source('python.py')],
    ),
    program(
      'go',
      prepared('go', (folder) => existsSync(join(folder, 'verify')), [
        ['go', ['mod', 'init', 'verify']],
        ['go', ['get', ...GO]],
        ['go', ['mod', 'tidy']],
        ['go', ['build', '-o', 'verify', '.']],
      ]),
      (folder) => [join(folder, 'verify')],
    ),
  ]
}

interface Answer {
  library: string
  name: string
  accepted: boolean
  error?: string
}

/** @returns what every program says about the tokens of one gateway */
async function ask(algorithm: string, typ: string, all: readonly Program[]): Promise<Answer[]> {
  const gateway = await startGatewayProcess({ routes: [], tokens: { algorithm, typ } })
  try {
    const { token } = await newUser(gateway)
    const [head, claims, signature] = token.split('.') as [string, string, string]
    const bytes = Buffer.from(signature, 'base64url')
    bytes[10]! ^= 1
    const input = JSON.stringify({
      issuer: claimsOf(token).iss,
      audience: 'api',
      jwks_uri: `${gateway.url}/.well-known/jwks.json`,
      tokens: {
        good: { token, alg: algorithm },
        'for another audience': { token, alg: algorithm, audience: 'billing' },
        'with a changed signature': { token: `${head}.${claims}.${bytes.toString('base64url')}`, alg: algorithm },
      },
    })
    return all.flatMap(({ command, folder }) => {
      if (!command) return []
      const { stdout, stderr, status } = spawnSync(command[0]!, command.slice(1), {
        cwd: folder,
        input,
        encoding: 'utf8',
        timeout: 120_000,
      })
      if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}: ${stderr.slice(-1000)}`)
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((line): Answer => JSON.parse(line))
    })
  } finally {
    await gateway.stop()
  }
}

/** The rows of the table: library → column → yes or no. */
function documentedVerifiers(page: string): Map<string, Record<string, boolean>> {
  const section = page.slice(page.indexOf('## Tried'), page.indexOf('## By their documentation'))
  const cells = section.split('\n').flatMap((line) =>
    line.startsWith('| ')
      ? [
          line
            .split('|')
            .slice(1, -1)
            .map((cell) => cell.trim()),
        ]
      : [],
  )
  return new Map(
    cells.slice(1).map(([library, ...values]) => {
      const name = library!.replace(/ \d.*/, '')
      return [name, Object.fromEntries(COLUMNS.map((column, i) => [column, values[i]!.includes('yes')]))]
    }),
  )
}

export async function compareVerifiers(log: (text?: string) => void): Promise<boolean> {
  const all = programs()
  for (const { language, missing } of all) if (missing) log(`not compared: ${language}: ${missing}`)
  const found = new Map<string, Record<string, boolean>>()
  const faults: string[] = []
  for (const algorithm of ALGORITHMS)
    for (const typ of TYPES)
      for (const { library, name, accepted, error } of await ask(algorithm, typ, all)) {
        const row = found.get(library) ?? Object.fromEntries(COLUMNS.map((column) => [column, false]))
        found.set(library, row)
        if (name !== 'good' && accepted) faults.push(`${library} accepts a token ${name} (${algorithm}, ${typ})`)
        if (name === 'good' && accepted) row[algorithm] = row[typ] = true
        if (name === 'good' && !accepted) log(`${library} refuses ${algorithm}, ${typ}: ${error}`)
      }
  log(`\n${['', ...COLUMNS].join('\t')}`)
  for (const [library, row] of found) log([library, ...COLUMNS.map((column) => (row[column] ? 'yes' : 'no'))].join('\t'))

  const documented = documentedVerifiers(readFileSync(new URL('../../docs/verifiers.md', import.meta.url), 'utf8'))
  for (const [library, row] of found)
    for (const column of COLUMNS)
      if (documented.get(library)?.[column] !== row[column])
        faults.push(`${library}, ${column}: docs/verifiers.md says ${documented.get(library)?.[column]}, the library says ${row[column]}`)
  if (all.every(({ command }) => command))
    for (const library of documented.keys())
      if (!found.has(library)) faults.push(`${library} stands in docs/verifiers.md and was not tried`)
  for (const fault of faults) log(`wrong: ${fault}`)
  return faults.length === 0
}
