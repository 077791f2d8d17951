/** Accepts only JWTs that all parsers read alike (RFC 8725 §3.7): each part has one encoding, and its JSON is unambiguous. */

/** For our own tokens, with JSON as `JSON.stringify` writes it. Two forms of a token would have two entries in the cache. */
export const isCanonicalCompact = (token: string): boolean => everyPart(token, (json, text) => JSON.stringify(json) === text)

/** For tokens of other issuers: any blanks and escapes, but no duplicate names. */
export const isUnambiguousJwt = (token: string): boolean => everyPart(token, (json, text) => JSON.stringify(json) === compact(text))

function everyPart(token: string, isGood: (json: unknown, text: string) => boolean): boolean {
  const parts = token.split('.')
  if (parts.length !== 3) return false
  // decoders ignore stray bits and characters
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

/** Throws on invalid UTF-8, and keeps a byte order mark, which JSON.parse refuses. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @returns the JSON without blanks, with each string and number as `JSON.stringify` writes it. @param text valid JSON */
const compact = (text: string): string =>
  text.replace(/"(?:[^"\\]|\\.)*"|\s+|-?\d[\d.eE+-]*/g, (part) => (part.trim() === '' ? '' : JSON.stringify(JSON.parse(part))))
