/**
 * What a message may repeat of a configuration. A text in the wrong place may be a secret, so that only short words, quantities and
 * addresses are shown. The line and the name of the setting are enough to find everything else.
 */
import { isIP } from 'node:net'
import { ConfigSchema } from './schema.ts'

const HIDDEN = '…'

/** Letters, and after a hyphen, dot or underscore also a small number: passwords mostly have digits inside a word, or are longer. */
const NAME = /^(?=.{1,26}$)_*[A-Za-z]+(?:[-_.]+(?:[A-Za-z]+|\d{1,3}))*_*$/
const QUANTITY = /^-?\d{1,6}(?:\.\d{1,3})?(?: ?(?:ms|s|m|min|h|d|%|[KMG]i?B?))?$/
/** An origin without user, query and fragment, a path, or both. A path may hold the patterns of other routers. */
const ADDRESS = /^(?=.{1,60}$)(?:https?:\/\/[a-z]+(?:[-.](?:[a-z]+|\d{1,3}))*(?::\d{1,5})?)?(?:\/(?:v?\d{1,3}|[A-Za-z*{}:_.-]{0,24}))*$/
const FILE = /^(?=.{1,120}$)(?:\.{0,2}|~)(?:\/[A-Za-z0-9_.-]{0,40})+$/

/** A word that could be the name of a setting, a role or a header. */
const isName = (text: string): boolean => NAME.test(text)

export const isHarmless = (text: string): boolean =>
  !/secret|password/i.test(text) &&
  (isName(text) || QUANTITY.test(text) || (text !== '' && ADDRESS.test(text)) || /^\*+$/.test(text) || isNetwork(text))

const isNetwork = (text: string): boolean => /^[^/]*(?:\/\d{1,3})?$/.test(text) && isIP(text.split('/')[0]!) !== 0

/** The path of a file with its folder, and not what should be in the file. */
export const isFileName = (text: string): boolean => FILE.test(text)

/** `, not "text"`, or nothing if the value may be a secret. */
export function notShown(value: unknown): string {
  const isShown = typeof value === 'boolean' || ((typeof value === 'number' || typeof value === 'string') && isHarmless(String(value)))
  return isShown ? `, not ${JSON.stringify(value)}` : ''
}

/** All names of the schema, also as parts of the names of variables. */
const KNOWN = new Set<string>()
JSON.stringify(ConfigSchema, (name, value) => {
  KNOWN.add(name).add(snake(name))
  return value
})

export function snake(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()
}

const shownStep = (step: string): string => (KNOWN.has(step) || isName(step) ? step : HIDDEN)

/** A larger number is a name of digits. */
const MAX_INDEX = 10_000

/** `server.port` or `routes[0].name`: a name that may be a secret is left out. */
export const shownPath = (path: readonly (string | number)[]): string =>
  path
    .map((step) => (typeof step === 'number' ? `[${step < MAX_INDEX ? step : HIDDEN}]` : `.${shownStep(step)}`))
    .join('')
    .replace(/^\./, '')

/** The name of a setting in a flag, as `server.port`. */
export const shownFlag = (name: string): string => name.split('.').map(shownStep).join('.')

/** The name of a variable, as `PORTCULLIS_SERVER__PORT`. */
export const shownVariable = (name: string): string =>
  name.replace(/^(PORTCULLIS_)?(.*)$/s, (_, prefix = '', rest: string) => prefix + rest.split('__').map(shownStep).join('__'))
