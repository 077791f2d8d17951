/** curl. VERSION is one of its options, such as --http1.0; --http2 offers h2c. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseHead, runClient } from '../lines.ts'

const version = process.env.VERSION ?? '--http1.1'
const folder = mkdtempSync(join(tmpdir(), 'portcullis-real-curl-'))
const [head, content] = [join(folder, 'head'), join(folder, 'content')]

await runClient(async (base, { method, path, headers, file, mode }) => {
  if (version === '--http1.0' && mode !== 'length') return 'HTTP/1.0 has neither chunks nor 100 Continue'
  rmSync(content, { force: true })
  const fields = [...headers.map(([name, value]) => `${name}: ${value}`), ...(mode === 'chunked' ? ['transfer-encoding: chunked'] : [])]
  const args = ['-sS', version, '--max-time', '20', '-D', head, '-o', content, ...fields.flatMap((field) => ['-H', field])]
  // without a timeout, curl sends the body without the 100
  args.push(...(mode === 'expect' ? ['-H', 'expect: 100-continue', '--expect100-timeout', '15'] : ['-H', 'expect:']))
  args.push(...(method === 'HEAD' ? ['-I'] : ['-X', method]), ...(file ? ['--data-binary', `@${file}`] : []), base + path)
  const curl = spawn('curl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  curl.stderr.on('data', (chunk) => {
    complaint += chunk
  })
  const [code] = await once(curl, 'close')
  if (code !== 0) throw new Error(complaint)
  // curl writes no file for an empty body
  let body: Buffer = Buffer.alloc(0)
  try {
    if (method !== 'HEAD') body = readFileSync(content)
  } catch {}
  return { ...parseHead(readFileSync(head, 'latin1')), body }
})
rmSync(folder, { recursive: true })
