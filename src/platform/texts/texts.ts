/** The texts of pages and mails in all languages of the configuration, and the choice of a language for a reader. */
import Negotiator from 'negotiator'
import { de } from './de.ts'
import { en, type TextKey } from './en.ts'

/** A language, with its texts. */
export interface Language {
  /** BCP 47, such as `de`. */
  code: string
  /** The text, with each `{name}` replaced by its value. */
  text(key: TextKey, values?: Record<string, string | number>): string
  /** The text of a key that was made of a code, or null when there is none. */
  find(key: string): string | null
}

export interface Texts {
  /** In the order of the configuration. The first is the default. */
  languages: readonly Language[]
  /** @returns the default for an unknown code, and for null */
  of(code: string | null | undefined): Language
  /** RFC 9110 §12.5.4. @returns null when the client asks for no listed language */
  asked(acceptLanguage: string | undefined): Language | null
}

const BUILT_IN: Record<string, Record<TextKey, string>> = { en, de }

/** The texts of a language, or of the nearest that is built in: `de-AT` is `de`, and every other language is English. */
export function builtInTexts(code: string): { code: string; texts: Record<TextKey, string> } {
  const known = [code, code.split('-')[0]!, 'en'].find((candidate) => Object.hasOwn(BUILT_IN, candidate))!
  return { code: known, texts: BUILT_IN[known]! }
}

/** The languages whose texts are on board. */
export const BUILT_IN_LANGUAGES: readonly string[] = Object.keys(BUILT_IN)

/**
 * @param codes the languages of the configuration
 * @param overrides texts by language, which replace built-in texts. Keys without a text keep the built-in text
 */
export function createTexts(codes: readonly string[], overrides: Readonly<Record<string, Partial<Record<TextKey, string>>>> = {}): Texts {
  const languages = codes.map((code) => createLanguage(code, { ...builtInTexts(code).texts, ...overrides[code] }))
  const [first] = languages as [Language]
  const of = (code: string | null | undefined): Language => languages.find((language) => language.code === code) ?? first
  function asked(acceptLanguage: string | undefined): Language | null {
    // `*` alone, as of many programs, asks for nothing
    if (!acceptLanguage || acceptLanguage.trim() === '*') return null
    const code = new Negotiator({ headers: { 'accept-language': acceptLanguage } }).language([...codes])
    return languages.find((language) => language.code === code) ?? null
  }
  return { languages, of, asked }
}

function createLanguage(code: string, texts: Record<TextKey, string>): Language {
  return {
    code,
    text(key, values) {
      const text = texts[key]
      return values ? text.replace(/\{([a-zA-Z]+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text
    },
    find: (key) => (Object.hasOwn(texts, key) ? texts[key as TextKey] : null),
  }
}
