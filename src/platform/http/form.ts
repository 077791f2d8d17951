import { problem } from '../lib/errors.ts'

export type Form = { readonly [name: string]: string | undefined }

const ASCII = /^[\x21-\x7e]*$/

/**
 * application/x-www-form-urlencoded, with one reading only: RFC 6749 §3.2 forbids repeated parameters and treats an empty value as omitted.
 * @throws invalid_request
 */
export function readForm(text: string): Form {
  if (!ASCII.test(text))
    throw problem('invalid_request', { detail: 'The body is not a form. Send it as application/x-www-form-urlencoded.' })
  const form: Record<string, string> = Object.create(null)
  const seen = new Set<string>()
  for (const pair of text.split('&').filter(Boolean)) {
    const mark = pair.indexOf('=')
    const name = decodePart(mark < 0 ? pair : pair.slice(0, mark))
    const value = mark < 0 ? '' : decodePart(pair.slice(mark + 1))
    if (name === null || value === null)
      throw problem('invalid_request', { detail: 'The body has an escape that is not UTF-8. Encode the form in UTF-8.' })
    if (seen.has(name)) throw problem('invalid_request', { detail: 'A parameter is repeated. Send each parameter once.' })
    seen.add(name)
    if (value !== '') form[name] = value
  }
  return form
}

/** RFC 6749 appendix B. Null: malformed. */
export function decodePart(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return null
  }
}
