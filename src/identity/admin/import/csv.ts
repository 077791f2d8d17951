/** Reads CSV (RFC 4180) as a stream. */
import { badFile } from './source.ts'

const MAX_FIELD = 65_536

export async function* csvRows(input: AsyncIterable<Uint8Array>): AsyncIterable<string[]> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let row: string[] = []
  let field = ''
  /** `quote`: a quotation mark inside a quoted field, which ends it unless another follows. */
  let state: 'plain' | 'quoted' | 'quote' = 'plain'
  for await (const chunk of decoded(input, decoder)) {
    for (const character of chunk) {
      if (state === 'quoted') {
        if (character === '"') state = 'quote'
        else field += character
      } else if (character === '"' && (state === 'quote' || field === '')) {
        if (state === 'quote') field += '"'
        state = 'quoted'
      } else if (character === ',') {
        row.push(field)
        field = ''
        state = 'plain'
      } else if (character === '\n') {
        yield [...row, field.replace(/\r$/, '')]
        row = []
        field = ''
        state = 'plain'
      } else field += character
      if (field.length > MAX_FIELD) throw badFile(`has a field of more than ${MAX_FIELD} characters: is it CSV?`)
    }
  }
  if (state === 'quoted') throw badFile('ends inside quotation marks')
  if (row.length || field !== '') yield [...row, field]
}

async function* decoded(input: AsyncIterable<Uint8Array>, decoder: InstanceType<typeof TextDecoder>): AsyncIterable<string> {
  try {
    for await (const chunk of input) yield decoder.decode(chunk, { stream: true })
    yield decoder.decode()
  } catch (error) {
    throw error instanceof TypeError ? badFile('is not valid UTF-8') : error
  }
}
