/** Corpora of malformed and ambiguous requests: what the gateway reads as one request reaches the upstream as the same request, or not. */
import { readFileSync } from 'node:fs'
import { route } from '../../support/config.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'
import { exchange, startStockReader, startWireUpstream } from '../harness/raw-requests.ts'

interface Case {
  id: string
  expect: string
  level: 'must' | 'advisory'
  bytes: Buffer
  /** The most requests that the bytes may hold. Default: as many as Node's server reads. */
  max?: number
}

function readCorpus(name: string): Case[] {
  const lines = readFileSync(new URL(`../corpora/${name}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
  return lines.map((line) => {
    const { raw, ...about } = JSON.parse(line)
    const parts: (string | [string, number])[] = typeof raw === 'string' ? [raw] : raw
    const text = parts.map((part) => (typeof part === 'string' ? part : part[0].repeat(part[1]))).join('')
    return { ...about, bytes: Buffer.from(text, 'latin1') }
  })
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
/** Each byte at the positions where parsers differ, with a body that two framings cut at different bytes. */
function generated(): Case[] {
  const forms: Record<string, (byte: string) => string> = {
    'before the name': (b) => `${b}Transfer-Encoding: chunked`,
    'in the name': (b) => `Transfer${b}Encoding: chunked`,
    'before the colon': (b) => `Transfer-Encoding${b}: chunked`,
    'after the colon': (b) => `Transfer-Encoding:${b}chunked`,
    'after the coding': (b) => `Transfer-Encoding: chunked${b}`,
    'in another header': (b) => `X: y${b}Transfer-Encoding: chunked`,
    'at the end of another header': (b) => `X: y${b}\r\nTransfer-Encoding: chunked`,
  }
  return Object.entries(forms).flatMap(([form, header]) =>
    Array.from({ length: 256 }, (_, code) => {
      const body = `0\r\n\r\n${SMUGGLED}`
      // without a length a reader that ignores the coding finds the body behind the request
      const lengths = { CLTE: `Content-Length: ${body.length}\r\n`, TECL: 'Content-Length: 4\r\n' }
      return Object.entries(lengths).map(([kind, length]) => ({
        id: `${kind}: byte ${code} ${form}`,
        expect: 'no-desync',
        level: 'must' as const,
        bytes: Buffer.from(`POST /x HTTP/1.1\r\nHost: a\r\n${length}${header(String.fromCharCode(code))}\r\n\r\n${body}`, 'latin1'),
      }))
    }).flat(),
  )
}

export const row: FaultRow = {
  id: 'C8',
  fault: 'Request smuggling: corpora of Http11Probe and llhttp, and each byte around Transfer-Encoding',
  promise: 'One request in is at most one request out, with the same boundary',
  isQuick: true,
  async run({ short }) {
    const tally = createTally()
    const upstream = await startWireUpstream()
    const stock = await startStockReader()
    const gateway = await startLoneGateway({ routes: [route('/', { upstream: [upstream.url] })], config: { log: { level: 'error' } } })
    const all = [...readCorpus('http11probe'), ...readCorpus('llhttp'), ...generated()]
    const cases = short ? all.filter((_, n) => n % 20 === 0) : all
    const started = performance.now()
    for (const { id, expect, level, bytes, max } of cases) {
      const read = await stock.read(bytes)
      const { text, isHung } = await exchange(gateway.port, bytes)
      const { requests } = upstream.take()
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
      tally.add(statuses[0] === undefined ? 'no answer' : statuses[0] < 400 ? 'served' : 'refused')
      tally.add('upstream requests', requests.length)
      const breaks = (why: string) => tally.promise(false, `${id}: ${why} (answers ${statuses.join(', ') || 'none'})`)
      if (isHung) breaks('the connection was left open')
      if (requests.length > (max ?? Math.max(read.targets.length, statuses.length))) breaks(`the upstream got ${requests.length} requests`)
      for (const { flaws, target, body } of requests) {
        if (flaws.length) breaks(`the upstream got ${flaws.join(', ')}`)
        if (/smuggl|evil|poison/i.test(target) && !read.targets.some((t) => /smuggl|evil|poison/i.test(t)))
          breaks(`the upstream got ${target}`)
        if (read.bodies.length > 0 && !read.bodies.includes(body)) breaks('the upstream got another body')
      }
      if (expect === 'reject' && level === 'must' && statuses.some((status) => status < 400)) breaks('it was served')
      if (expect === 'incomplete' && requests.length > 0) breaks('a part of a request was sent on as a whole')
      if (statuses.some((status) => status >= 500 && status !== 501 && status !== 505)) breaks('a server error')
    }
    const seconds = (performance.now() - started) / 1000
    promiseHealthy(gateway, tally)
    return { what: `${cases.length} cases in ${seconds.toFixed(0)} s`, counts: tally.text(), broken: tally.broken }
  },
}
