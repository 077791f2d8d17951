/** What clients in any language read and print: lines with tabs between fields. */
import { readFileSync } from 'node:fs'

export interface Request {
  name: string
  method: string
  path: string
  headers: [name: string, value: string][]
  body: Buffer | null
  /** The file that holds the body. */
  file: string
  mode: string
}

/** `headers`: name, value, name, value … */
export interface Response {
  status: number
  headers: readonly string[]
  body: Buffer | string
}

/** Prints one line for each exchange. A client cannot send every exchange: it then returns the reason. */
export async function runClient(send: (base: string, request: Request) => Promise<Response | string>): Promise<void> {
  const [list = '', ...bases] = process.argv.slice(2)
  for (const [index, base] of bases.entries())
    for (const request of readRequests(list)) {
      let fields: (string | number)[]
      try {
        const made = await send(base, request)
        fields = typeof made === 'string' ? ['skip', encoded(made)] : [made.status, encodeHeaders(made.headers), encoded(made.body)]
      } catch (error) {
        const { message, cause } = error as Error
        fields = ['error', encoded(`${message} ${cause ?? ''}`)]
      }
      process.stdout.write(`${[index, request.name, ...fields].join('\t')}\n`)
    }
}

function readRequests(list: string): Request[] {
  const lines = list === '-' ? [] : readFileSync(list, 'utf8').trimEnd().split('\n')
  return lines.map((line) => {
    const [name = '', method = '', path = '', headers = '', file = '', mode = ''] = line.split('\t')
    const pairs = headers.split('|').filter(Boolean)
    return {
      name,
      method,
      path,
      headers: pairs.map((field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 2)]),
      body: file ? readFileSync(file) : null,
      file,
      mode,
    }
  })
}

const encoded = (data: Buffer | string) => Buffer.from(data as string).toString('base64')
const encodeHeaders = (headers: readonly string[]) => encoded(headers.map((text, i) => (i % 2 ? `${text}\n` : `${text}: `)).join(''))

/** A response as curl and wget print it: the last of its header sections counts. */
export function parseHead(head: string): Pick<Response, 'status' | 'headers'> {
  const section = head
    .trimEnd()
    .split(/\r?\n\r?\n/)
    .at(-1)!
  const [first = '', ...fields] = section.split(/\r?\n/)
  const headers = fields.flatMap((field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 1).trim()])
  return { status: Number(first.split(' ')[1]), headers }
}

export interface Exchanged {
  /** A status, `skip` or `error`. */
  outcome: string
  /** Lower-case name and value. Of `skip` and `error`: none. */
  headers: [name: string, value: string][]
  /** Of `skip` and `error`: the reason. */
  body: Buffer
}

/** @returns by index of the base, then by name of the exchange */
export function parseOutput(output: string): Map<string, Exchanged>[] {
  const bases: Map<string, Exchanged>[] = []
  for (const line of output.split('\n').filter((text) => text.includes('\t'))) {
    const [index = '', name = '', outcome = '', ...rest] = line.split('\t')
    const [head = '', body = ''] = Number.isNaN(Number(outcome)) ? ['', rest[0]] : rest
    const lines = Buffer.from(head, 'base64').toString('latin1').split('\n').filter(Boolean)
    const headers = lines.map((text): [string, string] => [
      text.slice(0, text.indexOf(':')).toLowerCase(),
      text.slice(text.indexOf(':') + 2),
    ])
    bases[Number(index)] ??= new Map()
    bases[Number(index)]!.set(name, { outcome, headers, body: Buffer.from(body, 'base64') })
  }
  return bases
}
