/** New passwords are looked up among breached ones, and a service that fails turns nobody away. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { call } from '../../support/client.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { freePort } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const sha1 = (text: string) => createHash('sha1').update(text).digest('hex').toUpperCase()
const PASSWORD = 'plain zebra crossing'
const HASH = sha1(PASSWORD)
const line = (count: number, hash = HASH) => `${hash.slice(5)}:${count}`
const OTHERS = Array.from({ length: 900 }, (_, i) => line(i % 7, sha1(`other ${i}`)))

type Answer = (res: ServerResponse, req: IncomingMessage) => void
let answer: Answer
let asked: { url: string; padding: unknown }[] = []
let service: Upstream
let gateway: Gateway
const breachCheck = (url: string) => ({
  config: { auth: { password: { breachCheck: { enabled: true, url, timeoutMs: 200 } } }, log: { level: 'trace' } },
})
beforeAll(async () => {
  service = await startUpstream((req, res) => {
    asked.push({ url: req.url!, padding: req.headers['add-padding'] })
    answer(res, req)
    return true
  })
  gateway = await startGateway(breachCheck(`${service.url}/range/`))
})
afterAll(async () => {
  await gateway.close()
  await service.close()
})
beforeEach(() => {
  asked = []
})

let people = 0
const register = (password = PASSWORD, on = gateway) => {
  const username = `person${people++}`
  return call(on, '/auth/register', { body: { username, email: `${username}@mail.test`, password } })
}
const outcomes = async () => {
  const counts = ['clean', 'breached', 'failed'].map((outcome) => metric(gateway, 'portcullis_breach_checks_total', { outcome }))
  const [clean, breached, failed] = await Promise.all(counts)
  return { clean: clean!, breached: breached!, failed: failed! }
}
const warnings = () => gateway.log().filter((l) => l.reason === 'breach_check_failed')

describe('a service that answers', () => {
  it('receives the first five digits of a SHA-1 and no more, and a request for padding', async () => {
    answer = (res) => res.end(OTHERS.join('\r\n'))
    expect((await register()).status).toBe(201)
    expect(asked).toEqual([{ url: `/range/${HASH.slice(0, 5)}`, padding: 'true' }])
  })

  it('is asked no more often than a client may register', async () => {
    answer = (res) => res.end(line(3))
    const limited = await startGateway({
      config: {
        ...breachCheck(`${service.url}/range/`).config,
        limits: { exempt: [], credentials: { register: { limit: 3, windowSeconds: 600 } } },
      },
    })
    const statuses = []
    for (let i = 0; i < 5; i++) statuses.push((await register(PASSWORD, limited)).status)
    await limited.close()
    expect([statuses, asked.length]).toEqual([[422, 422, 422, 429, 429], 3])
  })

  it('has a password refused that it knows, and says which field', async () => {
    answer = (res) => res.end([...OTHERS, line(3)].join('\r\n'))
    const before = await outcomes()
    const { status, body } = await register()
    expect([status, body.code]).toEqual([422, 'validation_failed'])
    expect(body.errors).toEqual([
      { field: 'password', code: 'breached', detail: 'is known from a data breach: it must not be used anywhere' },
    ])
    expect(await outcomes()).toEqual({ ...before, breached: before.breached + 1 })
  })

  it('is not believed about padding: a count of 0 is no breach', async () => {
    answer = (res) => res.end([...OTHERS, line(0)].join('\r\n'))
    const before = await outcomes()
    expect((await register()).status).toBe(201)
    expect(await outcomes()).toEqual({ ...before, clean: before.clean + 1 })
  })

  it('is asked about the normal form, whichever way accents were typed', async () => {
    answer = (res) => res.end(OTHERS.join('\n'))
    await register('café crème brûlée'.normalize('NFD'))
    expect(asked.map((a) => a.url)).toEqual([`/range/${sha1('café crème brûlée'.normalize('NFC')).slice(0, 5)}`])
  })

  it('is not asked about a password that is refused already', async () => {
    for (const password of ['short', 'Password2026!', 'x'.repeat(1025)]) expect((await register(password)).status).toBe(422)
    expect(asked).toEqual([])
  })
})

describe('a password is taken, with a warning and a count, when the service', () => {
  const FAILURES: Record<string, Answer> = {
    'answers 500': (res) => res.writeHead(500).end(line(1)),
    'answers 429': (res) => res.writeHead(429, { 'retry-after': '60' }).end(line(1)),
    'answers with a page': (res) => res.end('<!doctype html><title>Please log in</title>'),
    'answers with nothing': (res) => res.end(),
    'answers with lines of another form': (res) => res.end([...OTHERS, `${line(1)}; and more`].join('\r\n')),
    'answers with whole hashes': (res) => res.end(`${HASH}:1`),
    'sends us elsewhere': (res, req) =>
      req.url!.includes('again') ? res.end(line(1)) : res.writeHead(302, { location: `${req.url}/again` }).end(),
    'never answers': () => {},
    'never ends its answer': (res) => res.write(`${OTHERS[0]}\r\n`),
    drips: (res) => {
      const timer = setInterval(() => res.write(`${OTHERS[0]}\r\n`), 20)
      res.on('close', () => clearInterval(timer))
    },
    'breaks off': (res) => {
      res.writeHead(200, { 'content-length': '1000' }).write(line(1))
      setImmediate(() => res.destroy())
    },
    'hangs up': (res) => res.destroy(),
    'sends 40 MB': (res) => {
      const block = `${OTHERS[0]}\r\n`.repeat(2000)
      for (let i = 0; i < 500; i++) res.write(block)
      res.end()
    },
    'sends 40 MB in 40 KB': (res) =>
      res.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(`${OTHERS[0]}\r\n`.repeat(1_000_000), { level: 9 })),
  }

  it.each(Object.keys(FAILURES))('%s', async (how) => {
    answer = FAILURES[how]!
    const [before, reported] = [await outcomes(), warnings().length]
    expect((await register()).status).toBe(201)
    expect(await outcomes()).toEqual({ ...before, failed: before.failed + 1 })
    expect(warnings().slice(reported)).toMatchObject([{ level: 'warn', cause: expect.any(String) }])
    // a redirect is not followed
    expect(asked).toHaveLength(1)
  })

  it('is not there', async () => {
    const lonely = await startGateway(breachCheck(`http://127.0.0.1:${await freePort()}/range/`))
    expect((await register(PASSWORD, lonely)).status).toBe(201)
    expect(lonely.log().filter((l) => l.reason === 'breach_check_failed')).toHaveLength(1)
    await lonely.close()
  })

  it('and no log line holds any part of the password', () => {
    const text = JSON.stringify(gateway.log())
    expect(warnings().length).toBeGreaterThan(5)
    for (const secret of [PASSWORD, HASH.slice(0, 5), HASH.slice(5), HASH.toLowerCase().slice(0, 10), '/range/'])
      expect(text).not.toContain(secret)
  })
})

it('no service is asked unless it is configured', async () => {
  const quiet = await startGateway({ config: { auth: { password: { breachCheck: { url: `${service.url}/range/` } } } } })
  expect((await register(PASSWORD, quiet)).status).toBe(201)
  expect(asked).toEqual([])
  await quiet.close()
})
