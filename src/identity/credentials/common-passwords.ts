/** Recognises common passwords, and the usual ways to lengthen them. Attackers try these passwords first. */
import { readFileSync } from 'node:fs'

const LIST = new URL('./common-passwords.txt', import.meta.url)
/** A longer password is checked only against the list itself. */
const MAX_LENGTH = 32

/** Read once: a reload of the configuration makes another policy. */
let known: ReadonlySet<string> | undefined

function readList(): ReadonlySet<string> {
  const lines = readFileSync(LIST, 'utf8').split('\n')
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('# ')))
}

/** @returns whether a password is in the list, in any case, or is little more than a listed word: `Password2026!`, `qwertyqwerty` */
export function createCommonPasswords(): (password: string) => boolean {
  known ??= readList()
  const list = known
  /** A listed word, once or repeated. Any two or three characters that repeat count like a listed word. */
  const isKnown = (word: string) => {
    const unit = /^(.+?)\1+$/su.exec(word)?.[1]
    return list.has(word) || (unit !== undefined && (unit.length <= 3 || list.has(unit)))
  }
  return (password) => {
    const text = password.normalize('NFKC').toLowerCase()
    if (text.length > MAX_LENGTH) return list.has(text)
    const word = text.replace(/^\P{L}+|\P{L}+$/gu, '')
    return isKnown(text) || (2 * word.length >= text.length && isKnown(word))
  }
}
