/** Connections that die idle: how many requests fail through the gateway, and through Go's ReverseProxy beside it. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { route } from '../support/config.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { freePort, start, until } from '../support/processes.ts'
import { CACHE, type Tools } from './cache.ts'
import { UPSTREAMS } from './kinds.ts'

const COUNT = 3000
const POLLERS = 6
/** Beside the 2 s after which gunicorn closes an idle connection. */
const PAUSES_MS = [1490, 1510, 1900, 1980, 1995, 2000, 2005, 2020]
const ROUNDS = 4

type Log = (text?: string) => void
const run = promisify(execFile)

/** @returns false when a promise is broken */
export async function measureIdleCloses(tools: Tools, log: Log): Promise<boolean> {
  const closes = await compareWithGo(tools, log)
  const gunicorn = await pauseAtGunicorn(tools, log)
  const pollers = await pollIdly(tools, log)
  return closes && gunicorn && pollers
}

async function compareWithGo(tools: Tools, log: Log): Promise<boolean> {
  const binary = tools.go('idle-closes.go')
  if ('missing' in binary) return skip(log, 'idle closes', binary.missing)
  const running = start(binary.path, ['serve'])
  const [upstream = '', proxy = ''] = (await until(() => /^(\d+) (\d+)/.exec(running.output()), 'the upstream')).slice(1)
  const gateway = await startGatewayProcess({ routes: [route('/', { upstream: [`http://127.0.0.1:${upstream}`] })] })
  let isKept = true
  try {
    const failuresOf = async (url: string, method: string) => (await run(binary.path, ['load', url, method, `${COUNT}`])).stdout
    for (const method of ['GET', 'POST']) {
      const ours = await failuresOf(`${gateway.url}/`, method)
      const beside = await failuresOf(`http://127.0.0.1:${proxy}/`, method)
      log(`idle closes: of ${COUNT} ${method}s failed: ${ours} through the gateway, ${beside} through Go's ReverseProxy`)
      isKept &&= method === 'GET' ? failed(ours) === 0 : !isMore(failed(ours), failed(beside))
    }
    const repeated = await (await fetch(`${gateway.adminUrl}/metrics`)).text()
    log(`  sent again: ${/^portcullis_upstream_retries_total\S* (\d+)/m.exec(repeated)?.[1] ?? 0}`)
    if (!isKept) log('  BROKEN: a GET fails, or a POST fails more often')
    return isKept
  } finally {
    await gateway.stop()
    await running.stop()
  }
}

const failed = (output: string) => Number.parseInt(output, 10)
/** By more than three standard deviations. */
const isMore = (a: number, b: number) => a - b > 3 * Math.sqrt(a + b)

/** Requests with pauses as long as gunicorn keeps a connection. */
async function pauseAtGunicorn(tools: Tools, log: Log): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-real-'))
  const port = await freePort()
  const command = UPSTREAMS.find(({ name }) => name === 'gunicorn')!.command(tools, port, '', folder)
  if ('missing' in command) return skip(log, 'gunicorn', command.missing)
  const running = start(command.args[0]!, command.args.slice(1), { env: { PATH: process.env.PATH, ...command.env } })
  const url = `http://127.0.0.1:${port}`
  await until(() => fetch(`${url}/empty`).then(({ ok }) => ok), 'gunicorn', 20_000)
  const gateway = await startGatewayProcess({ routes: [route('/', { upstream: [url] })] })
  const statuses: number[] = []
  const lane = async (method: string, pauseMs: number) => {
    for (let round = 0; round < ROUNDS; round++) {
      const body = method === 'POST' ? 'a' : null
      statuses.push((await fetch(`${gateway.url}/echo`, { method, body })).status)
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }
  try {
    await Promise.all(PAUSES_MS.flatMap((pauseMs) => [lane('GET', pauseMs), lane('POST', pauseMs)]))
    return kept(log, `gunicorn: ${statuses.length} requests with pauses of about 2 s`, statuses)
  } finally {
    await gateway.stop()
    await running.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Pollers of socket.io wait longer for an answer than the deadline of the route. Other requests must not suffer. */
async function pollIdly(tools: Tools, log: Log): Promise<boolean> {
  const port = await freePort()
  const command = UPSTREAMS.find(({ name }) => name === 'socket.io')!.command(tools, port, '', '')
  if ('missing' in command || 'missing' in tools.npm) return skip(log, 'socket.io', 'npm cannot install its packages')
  const running = start(command.args[0]!, command.args.slice(1))
  const url = `http://127.0.0.1:${port}`
  await until(() => fetch(url).then(({ ok }) => ok), 'socket.io', 20_000)
  const to = (path: string, headersMs: number) => route(path, { upstream: [url], timeouts: { headersMs }, breaker: { openAfterMs: 500 } })
  const gateway = await startGatewayProcess({ routes: [to('/', 1000)] })
  const { io } = createRequire(`${CACHE}/npm/package.json`)('socket.io-client')
  const options = { transports: ['polling'], forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 100 }
  const sockets = Array.from({ length: POLLERS }, () => io(gateway.url, options))
  const statuses: number[] = []
  try {
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    for (let i = 0; i < 40; i++) {
      // nobody else asks for longer than all deadlines
      await new Promise((resolve) => setTimeout(resolve, i % 10 === 0 ? 3000 : 50))
      statuses.push((await fetch(`${gateway.url}/other`)).status)
    }
    const opened = gateway.logLines().filter((line) => line.includes('upstream_breaker_open')).length
    return kept(log, `socket.io: ${POLLERS} idle pollers, ${statuses.length} other requests, the breaker opened ${opened} times`, statuses)
  } finally {
    for (const socket of sockets) socket.disconnect()
    await gateway.stop()
    await running.stop()
  }
}

function kept(log: Log, text: string, statuses: number[]): boolean {
  const failed = statuses.filter((status) => status !== 200)
  log(`${text}: ${failed.length} failed`)
  if (failed.length) log(`  BROKEN: ${failed.join(' ')}`)
  return failed.length === 0
}

function skip(log: Log, what: string, reason: string): true {
  log(`not compared: ${what}: ${reason}`)
  return true
}
