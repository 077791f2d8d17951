/** Files of `auth.browser.texts`: a YAML mapping from keys to texts. Each text is checked, so that no page shows a gap. */
import { readFileSync } from 'node:fs'
import { isFileName, shownFlag } from '../config/harmless.ts'
import { nearest } from '../config/nearest.ts'
import { type ConfigProblem, readYaml } from '../config/source.ts'
import { fileErrorText } from '../lib/errors.ts'
import { en, type TextKey } from './en.ts'

export type LanguageTexts = Partial<Record<TextKey, string>>

export interface TextFiles {
  /** By language. */
  texts: Record<string, LanguageTexts>
  problems: ConfigProblem[]
}

const ALL_KEYS = 'portcullis texts prints all keys'
const FORM = 'write one text a line, such as login.title: Log in'

/** @param files by language. @param skipAbsent leaves out files that are not on this machine */
export function readTextFiles(files: Readonly<Record<string, string>>, { skipAbsent = false } = {}): TextFiles {
  const texts: Record<string, LanguageTexts> = {}
  const problems: ConfigProblem[] = []
  for (const [code, file] of Object.entries(files)) {
    try {
      const read = readTexts(file, readFileSync(file, 'utf8'))
      texts[code] = read.texts
      problems.push(...read.problems)
    } catch (error) {
      if (skipAbsent && (error as NodeJS.ErrnoException).code === 'ENOENT') continue
      const where = isFileName(file) ? file : `auth.browser.texts.${code}`
      problems.push({ where, path: '', message: `cannot be read: ${fileErrorText(error)}`, hint: 'name a YAML file of texts' })
    }
  }
  return { texts, problems }
}

/** @param file its name, for problems */
export function readTexts(file: string, content: string): { texts: LanguageTexts; problems: ConfigProblem[] } {
  const source = readYaml(file, content)
  const problems = source.problems.map(({ where, path, message }) => ({ where, path, message, hint: FORM }))
  const texts: LanguageTexts = {}
  for (const [key, value] of Object.entries(source.value)) {
    const text = typeof value === 'string' ? value.trim() : value
    const fault = faultOf(key, text)
    if (fault) problems.push({ where: source.locate([key]), path: shownFlag(key), ...fault })
    else texts[key as TextKey] = text as string
  }
  return { texts, problems }
}

function faultOf(key: string, text: unknown): { message: string; hint: string } | null {
  if (!Object.hasOwn(en, key)) {
    const near = nearest(key, Object.keys(en))
    return { message: 'there is no such text', hint: near ? `did you mean ${near}?` : ALL_KEYS }
  }
  if (typeof text !== 'string') return { message: 'must be a text', hint: 'put the text in quotes' }
  if (text === '') return { message: 'is empty', hint: 'leave the key out to keep the text that is built in' }
  // the subject of a mail is one line
  if (/[\x00-\x1f\x7f\u2028\u2029]/.test(text)) return { message: 'has a line break or a control character', hint: 'write it in one line' }
  const [wanted, found] = [placeholdersOf(en[key as TextKey]), placeholdersOf(text)]
  const missing = wanted.filter((name) => !found.includes(name))
  const strange = found.filter((name) => !wanted.includes(name))
  if (missing.length === 0 && strange.length === 0) return null
  return {
    message: missing.length ? `leaves out ${missing.join(' and ')}` : `${strange.join(' and ')} has no value here`,
    hint: wanted.length ? `this text has ${wanted.join(' and ')}, each in braces` : 'this text has no value in braces',
  }
}

const placeholdersOf = (text: string): string[] => [...new Set(text.match(/\{[a-zA-Z]+\}/g) ?? [])]
