/** Without a mail server: writes each mail into a file for mail programs, and a line into the log. Only our user may read the file. */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createTransport } from 'nodemailer'
import type { Logger } from '../telemetry/logger.ts'
import type { Message, MimeMessage, Transport } from './message.ts'

/** `20261121T134056Z-verify_email-<id>.eml`: sorts by time, and every attempt has the same name. */
const fileName = ({ writtenAt, template, id }: Message) => `${writtenAt.toISOString().replace(/[-:]|\.\d+/g, '')}-${template}-${id}.eml`

export function createFileTransport(
  { dataDir }: { dataDir: string },
  compose: (message: Message) => MimeMessage,
  logger: Logger,
): Transport {
  const folder = join(dataDir, 'outbox')
  const printer = createTransport({ streamTransport: true, buffer: true })
  return {
    async deliver(message) {
      const { message: mime } = await printer.sendMail(compose(message))
      const file = join(folder, fileName(message))
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await writeFile(`${file}.part`, mime as Buffer, { mode: 0o600, flush: true })
      await rename(`${file}.part`, file)
      logger.info({ template: message.template, file }, 'a mail was written to a file, since mail.url is not set')
    },
    close() {},
  }
}
