import { Problem } from '../../platform/lib/errors.ts'

const CODES = new Set<string>(['token_invalid', 'token_expired', 'token_revoked'])

/** @returns whether the error means that the token is not valid. Introspection and revocation reveal no more about an inactive token */
export const isInactiveToken = (error: unknown): boolean => error instanceof Problem && CODES.has(error.code)
