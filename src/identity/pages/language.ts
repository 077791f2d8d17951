/** The language of a reader: a choice kept in a cookie, else what the browser accepts. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Language, Texts } from '../../platform/texts/texts.ts'

const NAME = 'portcullis-lang'
const CHOICE = new RegExp(`(?:^|;)[ \\t]*${NAME}=([A-Za-z-]{2,6})[ \\t]*(?:;|$)`)

export function languageOf({ cookie, 'accept-language': accepted }: IncomingHttpHeaders, texts: Texts): Language {
  const chosen = cookie === undefined ? null : CHOICE.exec(cookie)
  return chosen && texts.languages.some(({ code }) => code === chosen[1]) ? texts.of(chosen[1]) : texts.negotiate(accepted)
}

const YEAR_SECONDS = 31_536_000

/** The Set-Cookie for the choice of a language. It is no secret. */
export const languageCookie = (code: string): string => `${NAME}=${code}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax; HttpOnly`
