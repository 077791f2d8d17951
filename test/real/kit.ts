/**
 * Runs the services of clients/verify behind the gateway. Each reads the caller from the gateway's headers, and refuses every request that
 * pretends to come from the gateway.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { call, login, newUser } from '../support/client.ts'
import { route } from '../support/config.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { freePort, has, type Running, start, until } from '../support/processes.ts'
import { claimsOf } from '../support/session.ts'
import { CACHE, type Tool } from './cache.ts'

const NPM = ['express@5.3.0', 'fastify@5.12.8', 'jose@6.2.17']
const PIP = ['fastapi==0.165.0', 'uvicorn==0.54.0', 'django==5.2.8', 'pyjwt==2.15.1', 'cryptography==50.0.2']

const FOLDER = join(CACHE, 'kit')
const SOURCES = fileURLToPath(new URL('../../clients/verify', import.meta.url))

const run = (command: string, args: string[], cwd: string) =>
  spawnSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', timeout: 600_000 })

/** Runs a command. @returns why it failed, or null */
function failure(command: string, args: string[], cwd: string): string | null {
  if (!command.includes('/') && !has(command)) return `${command} is not installed`
  const { status, stderr, stdout } = run(command, args, cwd)
  return status === 0 ? null : `${command} ${args[0]} failed: ${(stderr + stdout).slice(-400)}`
}

/** The gateway percent-encodes it. */
const EMAIL = 'zoë+shop@example.com'

interface Service {
  name: string
  /** @returns the command that starts the service */
  prepare(folder: string): string[] | { missing: string }
}

const node = (name: string): Service => ({
  name,
  prepare(folder) {
    const modules = join(FOLDER, 'node_modules')
    writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}')
    if (!existsSync(join(modules, 'express')) || !existsSync(join(modules, 'fastify'))) {
      writeFileSync(join(FOLDER, 'package.json'), '{"private":true}')
      const missing = failure('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...NPM], FOLDER)
      if (missing !== null) return { missing }
    }
    return [process.execPath, join(folder, 'server.js')]
  },
})

const python = (name: string): Service => ({
  name,
  prepare(folder) {
    const program = join(FOLDER, 'venv/bin/python')
    if (!existsSync(program) || run(program, ['-c', 'import fastapi, uvicorn, django, jwt, cryptography'], FOLDER).status !== 0) {
      const missing = failure('python3', ['-m', 'venv', 'venv'], FOLDER) ?? failure(program, ['-m', 'pip', 'install', '-q', ...PIP], FOLDER)
      if (missing !== null) return { missing }
    }
    return [program, join(folder, 'server.py')]
  },
})

const SERVICES: Service[] = [
  node('express'),
  node('fastify'),
  python('fastapi'),
  python('django'),
  {
    name: 'go',
    prepare(folder) {
      const missing = failure('go', ['mod', 'tidy'], folder) ?? failure('go', ['build', '-o', 'server', '.'], folder)
      return missing === null ? [join(folder, 'server')] : { missing }
    },
  },
  {
    name: 'spring',
    prepare(folder) {
      const missing = has('java') ? failure('mvn', ['-q', '-B', 'package', '-DskipTests'], folder) : 'java is not installed'
      return missing === null ? ['java', '-jar', join(folder, 'target/server-1.jar')] : { missing }
    },
  },
]

/** Copies the sources beside the installed packages. */
function prepared(service: Service): Tool & { command?: string[] } {
  const folder = join(FOLDER, service.name)
  mkdirSync(folder, { recursive: true })
  cpSync(join(SOURCES, service.name), folder, { recursive: true })
  const command = service.prepare(folder)
  return 'missing' in command ? command : { path: folder, command }
}

/** An upstream that answers with the headers of its requests. */
async function startMirror(): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => response.end(JSON.stringify(request.headers)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() }
}

/** @returns whether every service behaves, and every runtime that is on this machine was used */
export async function tryKit(log: (text?: string) => void): Promise<boolean> {
  mkdirSync(FOLDER, { recursive: true })
  const faults: string[] = []
  const mirror = await startMirror()
  const ready = SERVICES.map((service) => ({ name: service.name, ...prepared(service) }))
  for (const { name, ...tool } of ready) if ('missing' in tool) log(`not tried: ${name}: ${tool.missing}`)
  const services = await Promise.all(
    ready.flatMap(({ name, command }) =>
      command ? [freePort().then((port) => ({ name, command, url: `http://127.0.0.1:${port}`, port }))] : [],
    ),
  )
  const gateway = await startGatewayProcess({
    headers: { identity: { unverifiedEmail: true } },
    routes: [
      ...services.map(({ name, url }) =>
        route(`/${name}`, { upstream: [url], access: 'public', rewrite: { prefix: '/' }, headers: { assertion: true } }),
      ),
      route('/mirror', { upstream: [mirror.url], headers: { assertion: true } }),
    ],
  })
  const running: Running[] = []
  try {
    const user = await newUser(gateway)
    await call(gateway, '/auth/me', {
      method: 'PATCH',
      token: user.token,
      body: { email: EMAIL, current_password: user.password },
    })
    const { token } = await login(gateway, user)
    const authorization = `Bearer ${token}`
    const foreign = (await (await fetch(`${gateway.url}/mirror`, { headers: { authorization } })).json()) as Record<string, string>
    for (const { name, command, url, port } of services) {
      const env = {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        PORT: String(port),
        ISSUER: String(claimsOf(token).iss),
        AUDIENCE: url,
        JWKS_URI: `${gateway.url}/.well-known/jwks.json`,
      }
      const service = start(command[0]!, command.slice(1), { env })
      running.push(service)
      await until(
        () =>
          fetch(`${url}/me`).then(
            () => true,
            () => false,
          ),
        name,
        60_000,
      ).catch((error) => {
        faults.push(`${name} does not start: ${error.message} ${service.output().slice(-1500)}`)
      })
      const status = async (base: string, headers: Record<string, string> = {}) => (await fetch(`${base}/me`, { headers })).status
      const expect = (what: string, found: unknown, right: unknown) => {
        if (JSON.stringify(found) !== JSON.stringify(right))
          faults.push(`${name}: ${what}: ${JSON.stringify(found)}, not ${JSON.stringify(right)}`)
      }
      const { body: caller } = await call(gateway, `/${name}/me`, { headers: { authorization } })
      const { id, email, roles, scopes, session } = caller
      expect('the caller', { id, email, roles, scopes }, { id: user.id, email: EMAIL, roles: ['user'], scopes: [] })
      expect('a session', typeof session, 'string')
      const forged = { 'x-auth-user': user.id, 'x-auth-roles': 'admin', 'x-auth-email': 'admin@example.com' }
      expect('anonymous, through the gateway', await status(`${gateway.url}/${name}`), 401)
      expect('forged headers, through the gateway', await status(`${gateway.url}/${name}`, forged), 401)
      expect('anonymous, directly', await status(url), 401)
      expect('forged headers, directly', await status(url, forged), 401)
      expect('an assertion for another service', await status(url, { 'x-auth-assertion': foreign['x-auth-assertion']! }), 401)
      expect('an access token', await status(url, { 'x-auth-assertion': token }), 401)
      expect('no JWT', await status(url, { 'x-auth-assertion': 'x' }), 401)
      log(`${name}: ${faults.some((fault) => fault.startsWith(name)) ? 'WRONG' : 'right'}`)
    }
  } finally {
    for (const service of running) await service.stop()
    await gateway.stop()
    mirror.close()
  }
  for (const fault of faults) log(`wrong: ${fault}`)
  return faults.length === 0
}
