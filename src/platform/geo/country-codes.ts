/** The codes of countries: two capital letters (ISO 3166-1 alpha-2). */
import { nearest } from '../config/nearest.ts'

/** With XK for Kosovo, which databases use. ISO 3166-1 leaves XK to its users. */
const CODES =
  'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW'

export const COUNTRIES: ReadonlySet<string> = new Set(CODES.split(' '))

export const isCountry = (code: string): boolean => COUNTRIES.has(code)

/** Codes that people write, and that mean another code. */
const MEANT: Record<string, string> = { UK: 'GB', EN: 'GB', EL: 'GR', EU: 'each country by its own code', USA: 'US', GER: 'DE' }

/** What somebody may have meant who wrote a code that is none. */
export function meantCountry(text: string): string {
  const upper = text.toUpperCase()
  const meant = MEANT[upper] ?? (COUNTRIES.has(upper) ? upper : nearest(upper, [...COUNTRIES]))
  return meant === undefined ? 'write two capital letters of ISO 3166-1, such as DE' : `did you mean ${meant}?`
}

/** The name of a country in a language, such as Germany. */
export const countryName = (code: string, language: string): string =>
  new Intl.DisplayNames([language], { type: 'region', fallback: 'code' }).of(code) ?? code
