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

const BROWSERS = new Set(Object.values(bowser.BROWSER_MAP))
const SYSTEMS = new Set(Object.values(bowser.OS_MAP))

export const UNKNOWN_APP = 'An app'

/**
 * The same from a fixed list, for readers who may not have sent the header: no text of the client passes. For an unknown browser, the
 * parser repeats text of the header. Null when neither browser nor system is in the list.
 */
export function listedDeviceName(userAgent: string | null): string | null {
  if (!userAgent) return null
  const { browser, os } = bowser.parse(userAgent.slice(0, MAX_LENGTH))
  const browserName = browser.name !== undefined && BROWSERS.has(browser.name) ? browser.name : UNKNOWN_APP
  const systemName = os.name !== undefined && SYSTEMS.has(os.name) ? os.name : null
  if (systemName === null) return browserName === UNKNOWN_APP ? null : browserName
  return `${browserName} on ${systemName}`
}

/** @returns the name of a device if all of it is in the fixed list, else null */
export function ifListed(name: string | null): string | null {
  const [browser = '', system] = name?.split(' on ') ?? []
  const isListed = (browser === UNKNOWN_APP || BROWSERS.has(browser)) && (system === undefined || SYSTEMS.has(system))
  return isListed ? name : null
}
