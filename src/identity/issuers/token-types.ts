/** The header `typ` of tokens of other issuers. */

/** Stands in the configuration for a header without `typ`. */
export const NO_TYPE = 'none'

/** They say nothing about the kind of a token. */
export const UNTYPED: ReadonlySet<string> = new Set([NO_TYPE, 'jwt'])

/** RFC 7515 §4.1.9: the prefix may be left out, and case does not matter. */
export const foldType = (typ: string): string => typ.toLowerCase().replace(/^application\//, '')
