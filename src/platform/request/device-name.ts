import bowser from 'bowser'

const MAX_LENGTH = 1024

/** `Firefox on Linux`: for people, never for decisions; null when the header tells nothing. */
export function deviceName(userAgent: string | null): string | null {
  if (!userAgent) return null
  const { browser, os } = bowser.parse(userAgent.slice(0, MAX_LENGTH))
  if (browser.name) return os.name ? `${browser.name} on ${os.name}` : browser.name
  // curl/8.5.0, MyApp/1.2: the first product (RFC 9110 §10.1.5)
  return /^[A-Za-z0-9._-]{1,40}/.exec(userAgent)?.[0] ?? null
}
