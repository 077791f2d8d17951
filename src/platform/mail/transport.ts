/** Chooses the transport: the configured mail server, or files. */
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/logger.ts'
import { createFileTransport } from './files.ts'
import type { Message, MimeMessage, Transport } from './message.ts'
import { createSmtpTransport } from './smtp.ts'

/** Connects to nothing and creates no file before the first mail. */
export function openTransport(config: Config, compose: (message: Message) => MimeMessage, logger: Logger): Transport {
  const { url, startTls } = config.mail
  return url === undefined ? createFileTransport(config.database, compose, logger) : createSmtpTransport({ url, startTls }, compose)
}
