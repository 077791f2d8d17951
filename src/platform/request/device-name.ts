import bowser from 'bowser'

const MAX_LENGTH = 1024

/** For example `Firefox on Linux`: only for display, never for decisions. Null when the header is empty or unknown. */
export function deviceName(userAgent: string | null): string | null {
  if (!userAgent) return null
  const { browser, os } = bowser.parse(userAgent.slice(0, MAX_LENGTH))
  if (browser.name) return os.name ? `${browser.name} on ${os.name}` : browser.name
  // curl/8.5.0, MyApp/1.2: the first product (RFC 9110 §10.1.5)
  return /^[A-Za-z0-9._-]{1,40}/.exec(userAgent)?.[0] ?? null
}
