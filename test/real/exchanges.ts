/** The requests that each HTTP client sends, in the form that clients in any language read: one line for each, with tabs between fields. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** `chunked`: the body is sent without its length. `expect`: the client waits for 100 Continue. */
type Mode = 'length' | 'chunked' | 'expect'

interface Exchange {
  name: string
  method: string
  path: string
  headers?: string[]
  body?: Buffer
  mode?: Mode
}

const LARGE = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff))
const JSON_TYPE = 'content-type: application/json'
const FORM = ['--border', 'content-disposition: form-data; name="file"; filename="a.bin"', '', 'content ü', '--border--', ''].join('\r\n')

const EXCHANGES: Exchange[] = [
  { name: 'small', method: 'GET', path: '/small?q=a%20b&empty=&c=%C3%BC', headers: ['x-custom: one', 'accept-language: de'] },
  { name: 'large', method: 'GET', path: '/large' },
  { name: 'empty', method: 'GET', path: '/empty' },
  { name: 'no content', method: 'GET', path: '/none' },
  { name: 'chunked', method: 'GET', path: '/chunked' },
  { name: 'head', method: 'HEAD', path: '/large' },
  { name: 'options', method: 'OPTIONS', path: '/echo' },
  { name: 'json', method: 'POST', path: '/echo', headers: [JSON_TYPE], body: Buffer.from('{"ü":1}') },
  {
    name: 'form',
    method: 'POST',
    path: '/echo',
    headers: ['content-type: application/x-www-form-urlencoded'],
    body: Buffer.from('a=1&b=%20'),
  },
  {
    name: 'multipart',
    method: 'POST',
    path: '/echo',
    headers: ['content-type: multipart/form-data; boundary=border'],
    body: Buffer.from(FORM),
  },
  { name: 'large upload', method: 'POST', path: '/echo', headers: ['content-type: application/octet-stream'], body: LARGE },
  { name: 'chunked upload', method: 'POST', path: '/echo', headers: ['content-type: text/plain'], body: LARGE, mode: 'chunked' },
  { name: 'expect', method: 'POST', path: '/echo', headers: ['content-type: text/plain'], body: LARGE, mode: 'expect' },
  { name: 'put', method: 'PUT', path: '/echo', headers: [JSON_TYPE], body: Buffer.from('{}') },
  { name: 'patch', method: 'PATCH', path: '/echo', headers: [JSON_TYPE], body: Buffer.from('[]') },
  { name: 'delete', method: 'DELETE', path: '/echo' },
  { name: 'redirect', method: 'GET', path: '/redirect' },
  { name: 'cookies', method: 'GET', path: '/cookies', headers: ['cookie: a=1; b=2'] },
  { name: 'etag', method: 'GET', path: '/etag' },
  { name: 'not modified', method: 'GET', path: '/etag', headers: ['if-none-match: "v1"'] },
  { name: 'range', method: 'GET', path: '/range', headers: ['range: bytes=2-5'] },
  { name: 'gzip', method: 'GET', path: '/gzip', headers: ['accept-encoding: gzip'] },
  { name: 'not found', method: 'GET', path: '/status/404' },
  { name: 'error', method: 'GET', path: '/status/500' },
  { name: 'early 413', method: 'POST', path: '/early', headers: ['content-type: text/plain'], body: LARGE },
  { name: 'events', method: 'GET', path: '/events', headers: ['accept: text/event-stream'] },
  { name: 'long poll', method: 'GET', path: '/poll' },
  {
    name: 'completion',
    method: 'POST',
    path: '/completion',
    headers: [JSON_TYPE, 'accept: text/event-stream'],
    body: Buffer.from('{"stream":true}'),
  },
]

/** Writes the list and its bodies to the folder. @returns the path of the list */
export function writeExchanges(folder: string): string {
  mkdirSync(folder, { recursive: true })
  const lines = EXCHANGES.map(({ name, method, path, headers = [], body, mode = 'length' }) => {
    const file = body ? join(folder, name) : ''
    if (body) writeFileSync(file, body)
    return [name, method, path, headers.join('|'), file, mode].join('\t')
  })
  const list = join(folder, 'exchanges.tsv')
  writeFileSync(list, `${lines.join('\n')}\n`)
  return list
}
