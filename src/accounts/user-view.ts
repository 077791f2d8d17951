import type { User } from './users.repo.ts'

/** `user` in every answer. */
export interface UserView {
  id: string
  username: string
  email: string
  email_verified: boolean
  roles: string[]
  mfa_enabled: boolean
  password_must_change: boolean
  created_at: string
  last_login_at: string | null
}

export const viewOf = (user: User): UserView => ({
  id: user.id,
  username: user.username,
  email: user.email,
  email_verified: user.email_verified_at !== null,
  roles: [...user.roles].sort(),
  mfa_enabled: false,
  password_must_change: user.password_must_change,
  created_at: user.created_at.toISOString(),
  last_login_at: user.last_login_at?.toISOString() ?? null,
})
