import { Problem } from '../../platform/lib/errors.ts'

const CODES = new Set<string>(['token_invalid', 'token_expired', 'token_revoked'])

/** It is no token, or none any more: whoever asks or revokes is told nothing else of it. */
export const isInactiveToken = (error: unknown): boolean => error instanceof Problem && CODES.has(error.code)
