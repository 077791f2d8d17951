/** Whether a person with a browser waits for a page, or a program for data. */
import type { IncomingMessage } from 'node:http'
import Negotiator from 'negotiator'

/** navigation: to the top of a window, with GET or HEAD. form: the same with another method. frame: into a part of a page. */
export type RequestKind = 'navigation' | 'form' | 'frame' | 'program'

const FORM_TYPE = /^(?:application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)(?:;|$)/i

/** Fetch standard §2.2.5: destinations of nested navigations. A service worker that passes a navigation on sends `empty`. */
const KIND_OF_DESTINATION: Record<string, 'top' | 'frame'> = {
  document: 'top',
  empty: 'top',
  iframe: 'frame',
  frame: 'frame',
  fencedframe: 'frame',
  embed: 'frame',
  object: 'frame',
}

/**
 * By Fetch Metadata, which browsers send over https and to localhost. Without it, by `Accept`: browsers prefer HTML, programs do not.
 * A request with a credential in a header is a program, because no navigation of a browser has one.
 */
export function kindOf({ method, headers }: IncomingMessage, isUpgrade: boolean): RequestKind {
  if (isUpgrade || headers.authorization !== undefined || headers['x-api-key'] !== undefined) return 'program'
  const isRead = method === 'GET' || method === 'HEAD'
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination } = headers
  if (mode !== undefined || destination !== undefined || headers['sec-fetch-site'] !== undefined) {
    if (mode !== 'navigate') return 'program'
    const place = KIND_OF_DESTINATION[String(destination ?? 'document')]
    if (place === 'frame') return 'frame'
    if (place === undefined) return 'program'
    return isRead ? 'navigation' : 'form'
  }
  if (!prefersHtml(headers.accept)) return 'program'
  if (isRead) return 'navigation'
  return FORM_TYPE.test(headers['content-type'] ?? '') ? 'form' : 'program'
}

/** RFC 9110 §12.5.1. Every type counts as JSON. */
function prefersHtml(accept: string | undefined): boolean {
  if (accept === undefined || !/html|text\/\*/i.test(accept)) return false
  return new Negotiator({ headers: { accept } }).mediaType(['application/json', 'application/problem+json', 'text/html']) === 'text/html'
}
