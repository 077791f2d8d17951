/** Reads the header `Cookie` as browsers write it (RFC 6265bis). Names are compared exactly. */

/** Another path or another domain may add a cookie of the same name. */
const MAX_VALUES = 4

const isBlank = (code: number) => code === 0x20 || code === 0x09

/** Removes SP and HTAB. `trim()` would remove more, and a name would then match that a browser takes for another name. */
export function trimBlanks(text: string): string {
  let from = 0
  let to = text.length
  while (from < to && isBlank(text.charCodeAt(from))) from++
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  return text.slice(from, to)
}

/** The name of a cookie pair, with the blanks around it. Empty for a part without `=`. */
export const cookieNameOf = (pair: string): string => pair.slice(0, Math.max(0, pair.indexOf('=')))

/** The different values of the cookies with exactly this name, in the order in which they were sent. At most four. */
export function cookieValues(header: string | undefined, name: string): string[] {
  if (!header?.includes(name)) return []
  const values: string[] = []
  for (const part of header.split(';')) {
    const pair = trimBlanks(part)
    if (cookieNameOf(pair) !== name) continue
    const value = pair.slice(name.length + 1)
    if (values.length < MAX_VALUES && !values.includes(value)) values.push(value)
  }
  return values
}
