/**
 * A real Redis for the tests, on its own port, without a file. No npm package contains it: found on PATH, else installed or run in Docker.
 */
import { execFileSync } from 'node:child_process'
import net from 'node:net'
import { freePort, has, type Running, start, until } from './processes.ts'

export interface TestRedis {
  url: string
  port: number
  kill(): Promise<void>
  restart(): Promise<void>
  /** Accepts connections but never answers (SIGSTOP), until `resume`. */
  freeze(): void
  resume(): void
  stop(): Promise<void>
}

export async function startRedis(): Promise<TestRedis> {
  const command = findServer()
  const port = await freePort()
  let server: Running
  const launch = async () => {
    server = command
      ? start(command, ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--daemonize', 'no'])
      : start('docker', ['run', '--rm', '-p', `127.0.0.1:${port}:6379`, 'redis:7-alpine', 'redis-server', '--save', ''])
    await until(() => answersPing(port), `Redis on port ${port}\n${server.output()}`, command ? 15_000 : 120_000)
  }
  await launch()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    kill: () => server.stop('SIGKILL'),
    restart: launch,
    freeze: () => void server.child.kill('SIGSTOP'),
    resume: () => void server.child.kill('SIGCONT'),
    stop: async () => {
      server.child.kill('SIGCONT')
      await server.stop('SIGTERM')
    },
  }
}

/** The command of the server; null when it runs in Docker. */
export function findServer(): string | null {
  const known = ['redis-server', 'valkey-server'].find((name) => has(name))
  if (known) return known
  if (process.getuid?.() === 0 && has('apt-get')) {
    console.log('tests: no redis-server on PATH; installing the Debian package redis-server')
    execFileSync('apt-get', ['update', '-qq'], { stdio: 'inherit' })
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], {
      stdio: 'inherit',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
    return 'redis-server'
  }
  if (has('docker')) return null
  throw new Error('the tests need a real Redis: put redis-server or valkey-server on PATH, or run them as root on Debian, or with Docker')
}

const answersPing = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const done = (ok: boolean) => {
      socket.destroy()
      resolve(ok)
    }
    socket.on('data', (data) => done(data.toString().startsWith('+PONG')))
    socket.on('error', () => done(false))
  })
