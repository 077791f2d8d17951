/** GNU wget. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parseHead, runClient } from '../lines.ts'

const SERVER_ERRORS = 8

await runClient(async (base, { method, path, headers, file, mode }) => {
  if (mode !== 'length') return 'wget sends every body with its length'
  if (method === 'HEAD') return 'wget prints no headers of HEAD'
  const args = [
    '-q',
    '--no-config',
    '--tries=1',
    '--timeout=20',
    '--no-http-keep-alive',
    '--max-redirect=0',
    '--save-headers',
    '--content-on-error',
    '-O',
    '-',
  ]
  args.push(`--method=${method}`, ...(file ? [`--body-file=${file}`] : []), ...headers.map(([n, v]) => `--header=${n}: ${v}`), base + path)
  const wget = spawn('wget', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  const chunks: Buffer[] = []
  wget.stdout.on('data', (chunk) => chunks.push(chunk))
  const [code] = await once(wget, 'close')
  const whole = Buffer.concat(chunks)
  const end = whole.indexOf('\r\n\r\n')
  if (end < 0) return code === SERVER_ERRORS ? 'wget prints nothing of this status' : Promise.reject(new Error(`exit code ${code}`))
  return { ...parseHead(whole.toString('latin1', 0, end)), body: whole.subarray(end + 4) }
})
