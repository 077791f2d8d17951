/**
 * Entity tags of compressed responses. Compression makes other bytes each time, so a strong tag becomes weak (RFC 9110 §8.8.1). If-Match
 * never matches a weak tag (§13.1.1), so the upstream gets its strong tag back.
 */

/** Which tags the upstreams of a route were seen to send. */
export interface TagKinds {
  strong: boolean
  weak: boolean
}

const isWeak = (tag: string): boolean => tag.startsWith('W/')

export const weakened = (tag: string): string => (isWeak(tag) ? tag : `W/${tag}`)

export function noteTag(kinds: TagKinds, tag: string): void {
  if (isWeak(tag)) kinds.weak = true
  else kinds.strong = true
}

/** A tag may hold a comma, and `W/`. */
const TAGS = /(W\/)?("[^"]*")/g

export const holdsTag = (list: string, tag: string): boolean => list.match(TAGS)?.includes(tag) ?? false

/**
 * A list of tags for the upstream. A weak tag was weakened here, unless the upstream sends weak tags itself. Where it sends both kinds, the
 * tag may be either, and the list gets both forms.
 */
export function restoreTags(list: string, kinds: TagKinds): string {
  if (kinds.weak && !kinds.strong) return list
  return list.replace(TAGS, (tag: string, weak: string | undefined, opaque: string) => {
    if (weak === undefined) return tag
    return kinds.weak ? `${tag}, ${opaque}` : opaque
  })
}
