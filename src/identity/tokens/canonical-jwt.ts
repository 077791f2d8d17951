/** JWTs of which no two parsers make two things (RFC 8725 §3.7): one spelling of each part, and JSON with one reading. */

/** Ours: written as `JSON.stringify` writes. Two spellings of one token would be two cache keys and two truths. */
export const isCanonicalCompact = (token: string): boolean => everyPart(token, (json, text) => JSON.stringify(json) === text)

/** Somebody else's: blanks and escapes as they like, yet no name twice. */
export const isUnambiguousJwt = (token: string): boolean => everyPart(token, (json, text) => JSON.stringify(json) === tight(text))

function everyPart(token: string, isGood: (json: unknown, text: string) => boolean): boolean {
  const parts = token.split('.')
  if (parts.length !== 3) return false
  // decoders forgive stray bits and characters
  const bytes = parts.map((part) => Buffer.from(part, 'base64url'))
  if (!bytes.every((part, i) => part.length > 0 && part.toString('base64url') === parts[i])) return false
  return bytes.slice(0, 2).every((part) => {
    try {
      const text = UTF8.decode(part)
      return isGood(JSON.parse(text), text)
    } catch {
      return false
    }
  })
}

/** Bytes that are no UTF-8 throw, and a byte order mark stays: JSON has neither. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Without blanks, each string and number as `JSON.stringify` writes it. @param text valid JSON */
const tight = (text: string): string =>
  text.replace(/"(?:[^"\\]|\\.)*"|\s+|-?\d[\d.eE+-]*/g, (part) => (part.trim() === '' ? '' : JSON.stringify(JSON.parse(part))))
