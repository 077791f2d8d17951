/** Chooses the transport: the configured mail server, or files. */
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Texts } from '../texts/texts.ts'
import { createFileTransport } from './files.ts'
import { createComposer, type Transport } from './message.ts'
import { createSmtpTransport } from './smtp.ts'

/** Connects to nothing and creates no file before the first mail. */
export function openTransport(config: Config, texts: Texts, logger: Logger): Transport {
  const compose = createComposer(config, texts)
  const { url, startTls } = config.mail
  return url === undefined ? createFileTransport(config.database, compose, logger) : createSmtpTransport({ url, startTls }, compose)
}
