import type { Config } from '../config/schema.ts'
import type { FieldError } from '../errors.ts'
import { MAX_PASSWORD_BYTES } from './passwords.ts'

/** What is wrong with a new password. Length and nothing else: no composition rules (NIST SP 800-63B §3.1.1.2). */
export function passwordFault(password: string, { minLength }: Config['auth']['password'], own: string[]): string | null {
  if ([...password].length < minLength) return `must be at least ${minLength} characters long`
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return `must be at most ${MAX_PASSWORD_BYTES} bytes long`
  if (own.some((word) => word.toLowerCase() === password.toLowerCase())) return 'must not be your username or e-mail address'
  return null
}

export const field = (name: string, detail: string): FieldError[] => [{ field: name, detail }]
