/**
 * Checks whether a password is known from breaches. The check uses k-anonymity: the service gets only the first five digits of a SHA-1, and
 * answers with the rest of every hash that begins with them. Padding hides the number of hashes. When the service fails or is too slow, the
 * password is accepted: an outage of the service must not stop registrations.
 */
import { createHash } from 'node:crypto'
import type { Config } from '../../platform/config/schema.ts'
import { causeText } from '../../platform/lib/errors.ts'
import { VERSION } from '../../platform/lib/version.ts'
import type { Logger } from '../../platform/telemetry/logger.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'

export type BreachCheck = (password: string) => Promise<boolean>

/** A usual answer has about 1,500 lines of 40 bytes. */
const MAX_ANSWER_BYTES = 1_048_576
const LINE = /^[0-9A-F]{35}:\d+$/

export function createBreachCheck(
  { enabled, url, timeoutMs }: Config['auth']['password']['breachCheck'],
  metrics: Metrics,
  logger: Logger,
): BreachCheck {
  async function isBreached(password: string): Promise<boolean> {
    const digest = createHash('sha1').update(password).digest('hex').toUpperCase()
    const suffix = digest.slice(5)
    // the timeout includes the body
    const response = await fetch(url + digest.slice(0, 5), {
      headers: { 'add-padding': 'true', 'user-agent': `portcullis/${VERSION}` },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (!response.ok) {
      await response.body?.cancel()
      throw new Error(`status ${response.status}`)
    }
    const lines = (await readBounded(response)).trimEnd().split(/\r?\n/)
    if (!lines.every((line) => LINE.test(line))) throw new Error('the answer is not a list of hashes')
    // a count of 0 is padding
    return lines.some((line) => line.startsWith(suffix) && Number(line.slice(36)) > 0)
  }

  return async (password) => {
    if (!enabled) return false
    try {
      const found = await isBreached(password)
      metrics.breachChecks.inc({ outcome: found ? 'breached' : 'clean' })
      return found
    } catch (error) {
      metrics.breachChecks.inc({ outcome: 'failed' })
      logger.warn(
        { reason: 'breach_check_failed', cause: causeText(error) },
        'a new password could not be checked against breached passwords',
      )
      return false
    }
  }
}

/** The bound holds for the decompressed body. */
async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > MAX_ANSWER_BYTES) throw new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('latin1')
}
