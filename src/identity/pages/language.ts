/** The language of a reader: a choice kept in a cookie, else what the browser accepts. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Language, Texts } from '../../platform/texts/texts.ts'

const NAME = 'portcullis-lang'
const CHOICE = new RegExp(`(?:^|;)[ \\t]*${NAME}=([A-Za-z-]{2,6})[ \\t]*(?:;|$)`)

export const languageOf = (headers: IncomingHttpHeaders, texts: Texts): Language => askedLanguage(headers, texts) ?? texts.of(null)

/** @returns null when the reader chose none and asks for none of ours */
export function askedLanguage({ cookie, 'accept-language': accepted }: IncomingHttpHeaders, texts: Texts): Language | null {
  const chosen = cookie === undefined ? null : CHOICE.exec(cookie)
  return (chosen && texts.languages.find(({ code }) => code === chosen[1])) || texts.asked(accepted)
}

const YEAR_SECONDS = 31_536_000

/** The Set-Cookie for the choice of a language. It is no secret. */
export const languageCookie = (code: string): string => `${NAME}=${code}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax; HttpOnly`
