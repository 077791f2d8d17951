/** Processes that were frozen, and processes whose machine has a wrong clock. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, inject, it } from 'vitest'
import { call, login, newUser } from '../../support/client.ts'
import { FAKETIME } from '../../support/faketime.ts'
import { type GatewayProcess, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { claimsOf, logout, me, refresh } from '../../support/session.ts'
import { times } from '../../support/times.ts'

async function withProcess(work: (gateway: GatewayProcess, databaseUrl: string) => Promise<void>, clock?: string): Promise<void> {
  const databaseUrl = await createDatabase(inject('postgresUrl'))
  // a pause is a long delay of the event loop, which is not what is tested here
  const server = { overload: { maxLoopDelayMs: 0 } }
  const gateway = await startGatewayProcess({ routes: [], server, stores: { databaseUrl, redisUrl: 'memory' }, ...(clock && { clock }) })
  try {
    await until(() => gateway.logLines().some((line) => line.includes('portcullis is listening')), 'the gateway')
    await work(gateway, databaseUrl)
  } finally {
    process.kill(gateway.pid, 'SIGCONT')
    await gateway.stop()
  }
}

describe('a process that was stopped', () => {
  it('serves no request with a token that was revoked meanwhile, although the request came before the process noticed', async () => {
    await withProcess(async (gateway, databaseUrl) => {
      const user = await newUser(gateway)
      const agent = new http.Agent({ keepAlive: true })
      const status = () =>
        new Promise<number>((resolve, reject) => {
          const request = http.get(`${gateway.url}/auth/me`, { agent, headers: { authorization: `Bearer ${user.token}` } }, (answer) => {
            answer.resume()
            answer.on('end', () => resolve(answer.statusCode!))
          })
          request.on('error', reject)
        })
      expect(await Promise.all(times(10, status))).toEqual(times(10, () => 200))
      process.kill(gateway.pid, 'SIGSTOP')
      await query(databaseUrl, `INSERT INTO revocations (id, session_id, expires_at) VALUES ($1, $2, now() + interval '1 hour')`, [
        randomUUID(),
        claimsOf(user.token).sid,
      ])
      const answers = times(20, status)
      // longer than the interval of the poll
      await pause(1700)
      process.kill(gateway.pid, 'SIGCONT')
      expect(await Promise.all(answers)).toEqual(times(20, () => 401))
      agent.destroy()
      await until(() => gateway.logLines().some((line) => line.includes('process_paused')), 'the log line')
      expect(await me(gateway, (await login(gateway, user)).token)).toBe(200)
    })
  })
})

/** The kernel queues no more connections of one listener. */
const MOST_QUEUED = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))

it('a process that takes no connections loses none of 1500 clients: they wait, and are answered', async () => {
  await withProcess(async (gateway) => {
    process.kill(gateway.pid, 'SIGSTOP')
    const answers: string[] = []
    const clients = times(Math.min(1500, MOST_QUEUED), () => {
      const socket = net.connect(gateway.port, '127.0.0.1').setEncoding('latin1')
      socket.write(`GET /health HTTP/1.1\r\nHost: 127.0.0.1:${gateway.port}\r\nConnection: close\r\n\r\n`)
      return socket.on('error', () => {}).once('data', (text: string) => answers.push(text.slice(0, 12)))
    })
    try {
      await until(() => clients.every(({ connecting, destroyed }) => !connecting && !destroyed), 'all connections')
      process.kill(gateway.pid, 'SIGCONT')
      await until(() => answers.length === clients.length, 'all answers')
      expect(new Set(answers)).toEqual(new Set(['HTTP/1.1 200']))
    } finally {
      for (const client of clients) client.destroy()
    }
  })
})

/** Not on every machine. */
describe.runIf(FAKETIME)('a machine whose clock is wrong by five minutes', () => {
  it.each([
    '+300',
    '-300',
  ])('by %s s: tokens have the time of the database, a revoked token stays revoked, and the skew is shown', async (skew) => {
    await withProcess(async (gateway) => {
      const user = await newUser(gateway)
      const { iat, exp } = claimsOf(user.token)
      const now = Date.now() / 1000
      expect(Math.abs(iat - now)).toBeLessThan(30)
      expect(exp - iat).toBe(900)
      expect(await me(gateway, user.token)).toBe(200)
      const refreshed = (await refresh(gateway, user.refreshToken)).body
      expect((await logout(gateway, refreshed.access_token)).status).toBe(204)
      for (const token of [user.token, refreshed.access_token]) expect(await me(gateway, token)).toBe('token_revoked')
      const { status, body } = await call({ url: gateway.adminUrl }, '/readyz?verbose')
      expect([status, body.status]).toEqual([200, 'ready'])
      const check = body.checks.find(({ name }: { name: string }) => name.startsWith('clock ('))
      expect(check).toMatchObject({ ok: false, required: false })
      const series = /^portcullis_clock_skew_seconds (\S+)$/m.exec(await get(`${gateway.adminUrl}/metrics`))
      expect(Math.abs(Number(series?.[1]) - Number(skew))).toBeLessThan(10)
    }, `${skew}s`)
  })
})
