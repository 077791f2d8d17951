import type { User } from './users.repo.ts'

/**
 * Whether the user is known to own the address. A link has proven it, or an operator has given it: bootstrap, command, import, administrator.
 * Otherwise the account may have been made by a stranger to the address.
 */
export const hasProvenAddress = ({ email_verified_at, is_email_vouched }: Pick<User, 'email_verified_at' | 'is_email_vouched'>): boolean =>
  email_verified_at !== null || is_email_vouched
