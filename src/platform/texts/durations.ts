/** Lengths of time in words, in the language of the reader. */
import type { Language } from './texts.ts'

type Code = Pick<Language, 'code'>

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const

/** Rounded up, in the largest unit of which there are two: 90 seconds, 2 minutes. */
function roundedUp(seconds: number) {
  const [unit, size] = UNITS.find(([, length]) => seconds >= length * 2) ?? UNITS[3]
  return { unit, count: Math.ceil(seconds / size) }
}

/** Such as `2 minutes`. Rounded up. */
export function durationText(seconds: number, { code }: Code): string {
  const { unit, count } = roundedUp(seconds)
  return new Intl.NumberFormat(code, { style: 'unit', unit, unitDisplay: 'long' }).format(count)
}

/** Such as `in 2 minutes`. Rounded up: an early try would be refused again. */
export function waitText(seconds: number, { code }: Code): string {
  const { unit, count } = roundedUp(seconds)
  return new Intl.RelativeTimeFormat(code).format(count, unit)
}

/** Such as `3 days ago`, in the largest unit. @param now milliseconds since the epoch */
export function ageText(at: Date, now: number, { code }: Code): string {
  const seconds = Math.round((at.getTime() - now) / 1000)
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[3]
  return new Intl.RelativeTimeFormat(code, { numeric: 'auto' }).format(Math.trunc(seconds / size), unit)
}
