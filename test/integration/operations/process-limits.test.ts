/** A process that may open few files, or that has a small heap: it refuses work in words, answers the admin listener, and recovers. */
import http from 'node:http'
import net from 'node:net'
import { afterEach, expect, inject, test } from 'vitest'
import { type GatewayProcess, get, startGatewayProcess } from '../../support/gateway-process.ts'
import { createDatabase } from '../../support/postgres.ts'
import { until } from '../../support/processes.ts'
import { startUpstream } from '../../support/upstream.ts'

const opened: { stop?(): Promise<void>; close?(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await (one.stop ?? one.close)!()
})

async function startBounded(limits: { descriptors?: number; heapMiB?: number }) {
  const held: http.ServerResponse[] = []
  const upstream = await startUpstream((_req, res) => {
    held.push(res)
    return true
  })
  opened.push(upstream)
  const gateway = await startGatewayProcess({
    ...limits,
    // the bound of the loop has tests of its own, and this machine may be busy
    server: { workers: 1, overload: { maxLoopDelayMs: 0 } },
    routes: [{ name: 'open', match: { path: '/' }, upstream: [upstream.url], access: 'public', connections: { max: 5000 } }],
    stores: { databaseUrl: await createDatabase(inject('postgresUrl')), redisUrl: inject('redisUrl') },
  })
  opened.push(gateway)
  const release = () => {
    for (const res of held.splice(0)) res.end('done')
  }
  return { gateway, held, release }
}

interface Answer {
  status: number | string
  retryAfter: string | undefined
  code: string | undefined
}

/** On a connection of its own, which stays open. */
function ask(url: string, agent: http.Agent | false = false): Promise<Answer> {
  return new Promise((resolve) => {
    const request = http.get(url, { agent, headers: { connection: 'keep-alive' } }, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      const code = /"code":"(\w+)"/.exec(text)?.[1]
      resolve({ status: response.statusCode!, retryAfter: response.headers['retry-after'], code })
    })
    request.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ status: error.code ?? error.message, retryAfter: undefined, code: undefined }),
    )
  })
}

async function adminAnswers({ adminUrl }: GatewayProcess): Promise<void> {
  expect(await get(`${adminUrl}/livez`)).toContain('alive')
  expect(await get(`${adminUrl}/readyz`)).toContain('ready')
  expect(await get(`${adminUrl}/metrics`)).toContain('portcullis_shed_total')
}

/** Requests that the upstream holds. Each asks until it has an answer: a connection may be reset when very many come together. */
async function pressed(
  gateway: GatewayProcess,
  held: unknown[],
  width: number,
): Promise<{ waiting: Promise<Answer>[]; refused: Answer[] }> {
  const refused: Answer[] = []
  const waiting: Promise<Answer>[] = []
  for (let i = 0; i < width; i++) {
    const before = held.length
    const asked = ask(`${gateway.url}/`)
    let answer: Answer | undefined
    void asked.then((given) => {
      answer = given
    })
    await until(() => held.length > before || answer !== undefined, 'the request is held or refused')
    if (answer) refused.push(answer)
    else waiting.push(asked)
  }
  return { waiting, refused }
}

/** While the flood ends, a request may still be refused. */
async function recovers(gateway: GatewayProcess, held: unknown[], release: () => void): Promise<void> {
  const { waiting } = await until(async () => {
    const asked = await pressed(gateway, held, 1)
    return asked.waiting.length > 0 && asked
  }, 'a request reaches the upstream again')
  release()
  expect((await waiting[0]!).status).toBe(200)
}

test('with 256 descriptors it refuses what it could not serve, answers the admin listener, and recovers', async () => {
  const { gateway, held, release } = await startBounded({ descriptors: 256 })
  const { waiting, refused } = await pressed(gateway, held, 200)
  expect(waiting.length).toBeGreaterThan(20)
  expect(refused.length).toBeGreaterThan(20)
  for (const { status, code, retryAfter } of refused) {
    expect([status, code]).toEqual([503, 'overloaded'])
    expect(Number(retryAfter)).toBeGreaterThanOrEqual(1)
  }
  await adminAnswers(gateway)
  expect(await get(`${gateway.adminUrl}/metrics`)).toMatch(/portcullis_shed_total\{reason="descriptors"\} [1-9]/)
  const lines = gateway.logLines().filter((line) => line.includes('"shed":"descriptors"'))
  expect(lines.filter((line) => line.includes('it refuses requests'))).toHaveLength(1)
  expect(lines.filter((line) => line.includes('ulimit -n'))).toHaveLength(1)

  // a flood of connections that send nothing does not end it either
  const idle = Array.from({ length: 600 }, () => net.connect(gateway.port, '127.0.0.1').on('error', () => {}))
  await adminAnswers(gateway)
  for (const socket of idle) socket.destroy()
  release()
  for (const { status } of await Promise.all(waiting)) expect(status).toBe(200)

  await recovers(gateway, held, release)
  expect(gateway.isAlive()).toBe(true)
  expect(gateway.complaints()).toEqual([])
})

test('with a heap of 64 MiB it refuses what it could not hold, answers the admin listener, and recovers', async () => {
  const { gateway, held, release } = await startBounded({ heapMiB: 64 })
  const { waiting, refused } = await pressed(gateway, held, 300)
  expect(waiting.length).toBeGreaterThan(20)
  expect(refused.length).toBeGreaterThan(20)
  for (const { status, code } of refused) expect([status, code]).toEqual([503, 'overloaded'])
  await adminAnswers(gateway)
  expect(await get(`${gateway.adminUrl}/metrics`)).toMatch(/portcullis_shed_total\{reason="heap"\} [1-9]/)

  // very many connections at a time
  const agent = new http.Agent({ keepAlive: true })
  const flood = await Promise.all(Array.from({ length: 800 }, () => ask(`${gateway.url}/health`, agent)))
  expect(flood.filter(({ status }) => status === 200).length).toBeGreaterThan(0)
  agent.destroy()
  await adminAnswers(gateway)
  release()
  for (const { status } of await Promise.all(waiting)) expect(status).toBe(200)

  await recovers(gateway, held, release)
  expect(gateway.isAlive()).toBe(true)
  expect(gateway.complaints()).toEqual([])
})
