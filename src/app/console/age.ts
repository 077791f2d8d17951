/** How long ago something was, in words: "3 days ago". */
import type { Language } from '../../platform/texts/texts.ts'

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const

/** @param now milliseconds since the epoch */
export function age(at: Date, now: number, { code }: Pick<Language, 'code'>): string {
  const seconds = Math.round((at.getTime() - now) / 1000)
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[3]
  return new Intl.RelativeTimeFormat(code, { numeric: 'auto' }).format(Math.trunc(seconds / size), unit)
}

/** A time in UTC with its seconds, for lists of many events. */
export const instant = (at: string): string => at.replace('T', ' ').replace(/(?:\.\d+)?Z$/, '')
