/** The language of a reader: a choice kept in a cookie, else what the browser accepts. */
import type { IncomingHttpHeaders } from 'node:http'
import { cookieValues } from '../../platform/http/cookies.ts'
import type { Language, Texts } from '../../platform/texts/texts.ts'
import { pageCookieName } from '../access/page-cookie-names.ts'

const NAME = pageCookieName('lang', false)

export const languageOf = (headers: IncomingHttpHeaders, texts: Texts): Language => askedLanguage(headers, texts) ?? texts.of(null)

/** @returns null when the reader chose none and asks for none of ours */
export function askedLanguage({ cookie, 'accept-language': accepted }: IncomingHttpHeaders, texts: Texts): Language | null {
  const chosen = cookieValues(cookie, NAME)
  return texts.languages.find(({ code }) => chosen.includes(code)) ?? texts.asked(accepted)
}

const YEAR_SECONDS = 31_536_000

/** The Set-Cookie for the choice of a language. It is no secret. */
export const languageCookie = (code: string): string => `${NAME}=${code}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax; HttpOnly`
