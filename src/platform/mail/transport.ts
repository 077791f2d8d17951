/** Where mails go: to the mail server of the configuration, or into files. */
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/logger.ts'
import { createFileTransport } from './files.ts'
import { createComposer, type Transport } from './message.ts'
import { createSmtpTransport } from './smtp.ts'

/** Nothing is connected or made before there is a mail. */
export function openTransport(config: Config, logger: Logger): Transport {
  const compose = createComposer(config)
  const { url, startTls } = config.mail
  return url === undefined ? createFileTransport(config.database, compose, logger) : createSmtpTransport({ url, startTls }, compose)
}
