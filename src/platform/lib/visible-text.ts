/**
 * Text from outside (paths, names, header values, causes of errors) for logs, terminals and mails. A character that a reader cannot see, or
 * that changes how the text around it looks, is written as its number: `\u{202e}`. So nobody can forge a line, hide text or move a cursor.
 */

/**
 * Control characters (C0, DEL, C1), format characters (bidirectional controls, zero-width characters, tags), line and paragraph separators,
 * lone surrogates, and other characters without a picture (Unicode: Default_Ignorable_Code_Point). The two selectors of text and emoji
 * style stay.
 */
const INVISIBLE = /(?![\ufe0e\ufe0f])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{DI}]/gu
const PLAIN = /^[\x20-\x7e]*$/

const numberOf = (character: string): string => character.codePointAt(0)!.toString(16)

/** One line of text. Most text is plain, and stays as it is. */
export const visibleText = (text: string): string =>
  PLAIN.test(text) ? text : text.replace(INVISIBLE, (character) => `\\u{${numberOf(character)}}`)

/** The same for text of our own that has several lines. */
export const visibleLines = (text: string): string => text.split('\n').map(visibleText).join('\n')

/** JSON with the same characters in JSON's own escapes: a program reads the value unchanged. */
export const visibleJson = (value: unknown): string =>
  JSON.stringify(value).replace(INVISIBLE, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )

/** The same value with visible text in its strings and names. The lines of a stack stay lines. */
export function visibleValue(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return key === 'stack' ? visibleLines(value) : visibleText(value)
  if (Array.isArray(value)) return value.map((item) => visibleValue(item))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [visibleText(name), visibleValue(inner, name)]))
}
