/** The names under which blocks are known. The issuer of the configuration stands in them, since its id may change. */

/** Every token of this subject. */
export const subjectKey = (issuer: string, sub: string): string => JSON.stringify([issuer, 'sub', sub])

/** One token. */
export const tokenKey = (issuer: string, jti: string): string => JSON.stringify([issuer, 'jti', jti])

export interface BlockTarget {
  issuer: string
  kind: 'sub' | 'jti'
  value: string
}

/** @param key made by one of the functions above */
export function targetOf(key: string): BlockTarget {
  const [issuer, kind, value] = JSON.parse(key)
  return { issuer, kind, value }
}

const MAX_LENGTH = 512

/** Whether a subject or the id of a token is unlike every other, also in a header and in the database. */
export const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= MAX_LENGTH && value.isWellFormed() && !/\p{Cc}/u.test(value)
