/** A real SMTP server on loopback. It keeps the mails that it accepts, and can be set to refuse mails. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'

export interface ReceivedMail {
  from: string
  to: string[]
  /** The bytes as received. */
  raw: string
  /** Names in lower case, values unfolded. */
  headers: Map<string, string>
  text: string
  html: string
  isSecure: boolean
  user: string | undefined
}

type Stage = 'greeting' | 'mail' | 'rcpt' | 'data'

export interface MailServer {
  url: string
  port: number
  mails: ReceivedMail[]
  /** Connections so far. */
  connections(): number
  /** Answers with this code at that stage, until changed. */
  refuse(stage: Stage, code: number, text?: string): void
  accept(): void
  /** The next messages get no answer. */
  hang(): void
  close(): Promise<void>
}

export async function startMailServer(options: SMTPServerOptions = {}, port = 0): Promise<MailServer> {
  const mails: ReceivedMail[] = []
  let refusal: { stage: Stage; code: number; text: string } | null = null
  let isHanging = false
  let connections = 0
  const judge = (stage: Stage) => (refusal?.stage === stage ? Object.assign(new Error(refusal.text), { responseCode: refusal.code }) : null)
  const server = new SMTPServer({
    authOptional: true,
    allowInsecureAuth: true,
    disabledCommands: ['STARTTLS'],
    disableReverseLookup: true,
    closeTimeout: 100,
    onConnect(_session, done) {
      connections++
      done(judge('greeting'))
    },
    onMailFrom: (_address, _session, done) => done(judge('mail')),
    onRcptTo: (_address, _session, done) => done(judge('rcpt')),
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (isHanging) return
        const fault = judge('data')
        if (fault) return done(fault)
        const { mailFrom, rcptTo } = session.envelope
        mails.push({
          ...readMessage(Buffer.concat(chunks).toString()),
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map(({ address }) => address),
          isSecure: session.secure,
          user: session.user as string | undefined,
        })
        done()
      })
    },
    ...options,
  })
  server.on('error', () => {})
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const { port: taken } = server.server.address() as AddressInfo
  return {
    mails,
    port: taken,
    url: `smtp://127.0.0.1:${taken}`,
    connections: () => connections,
    refuse(stage, code, text = 'no') {
      refusal = { stage, code, text }
    },
    accept() {
      refusal = null
    },
    hang() {
      isHanging = true
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

function headersOf(section: string): Map<string, string> {
  const lines = section.replace(/\r\n[ \t]+/g, ' ').split('\r\n')
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]))
}

function split(message: string): [Map<string, string>, string] {
  const end = message.indexOf('\r\n\r\n')
  return [headersOf(message.slice(0, end)), message.slice(end + 4)]
}

function decode(body: string, encoding = '7bit'): string {
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString()
  if (encoding !== 'quoted-printable') return body
  const bytes = body.replace(/=\r\n/g, '').replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString()
}

/** The parts of multipart/alternative: text and HTML, as we send them. */
export function readMessage(raw: string): Pick<ReceivedMail, 'raw' | 'headers' | 'text' | 'html'> {
  const [headers, body] = split(raw.replace(/\r?\n/g, '\r\n'))
  const boundary = /boundary="([^"]+)"/.exec(headers.get('content-type') ?? '')?.[1]
  const parts = body
    .split(`--${boundary}`)
    .slice(1, -1)
    .map((part) => split(part.replace(/^\r\n/, '')))
  const partOf = (type: string) => {
    const [found, content] = parts.find(([h]) => h.get('content-type')?.startsWith(type))!
    return decode(content, found.get('content-transfer-encoding')).replace(/\r\n/g, '\n').trimEnd()
  }
  return { raw, headers, text: partOf('text/plain'), html: partOf('text/html') }
}
