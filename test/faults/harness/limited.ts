/** The configuration of the rows about Redis. */

export const LOGIN_LIMIT = 20

/** Limits are counted, but high: each request asks Redis. */
export const LIMITED = {
  limits: {
    exempt: [],
    default: ['wide'],
    policies: { wide: { limit: 1_000_000, windowSeconds: 60, key: 'principal' } },
    credentials: {
      register: { limit: 100, windowSeconds: 60 },
      login: { limit: LOGIN_LIMIT, windowSeconds: 60 },
      refresh: { limit: 1_000_000, windowSeconds: 60 },
    },
  },
}
