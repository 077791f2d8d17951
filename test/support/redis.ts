/**
 * A real Redis for the tests, on its own port, without a file. No npm package contains it: found on PATH, else installed or run in Docker.
 */
import net from 'node:net'
import { freePort, has, installPackage, type Running, start, until } from './processes.ts'

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
    await until(() => isUp(port), `Redis on port ${port}\n${server.output()}`, command ? 15_000 : 120_000)
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
  if (installPackage('redis-server')) return 'redis-server'
  if (has('docker')) return null
  throw new Error('the tests need a real Redis: put redis-server or valkey-server on PATH, or run them as root on Debian, or with Docker')
}

const isUp = async (port: number) => (await answerToPing(port)).startsWith('+PONG')

/** Empty: nothing answers. */
export const answerToPing = (port: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const done = (answer: string) => {
      socket.destroy()
      resolve(answer)
    }
    socket.on('data', (data) => done(data.toString()))
    socket.on('error', () => done(''))
  })
