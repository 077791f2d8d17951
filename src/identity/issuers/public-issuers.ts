/**
 * Issuers that sign tokens for everybody, with any audience that the caller asks for. A token of such an issuer says nothing before a claim
 * names whose it is.
 */
import type { IssuerConfig } from '../../platform/config/schema.ts'

export interface PublicIssuer {
  /** As in a sentence: `at GitHub, anybody …`. */
  name: string
  /** One of these sets of claims must be required. */
  claims: readonly (readonly string[])[]
  /** What would be right. */
  example: string
}

const PUBLIC: readonly [issuer: RegExp, PublicIssuer][] = [
  [
    /^https:\/\/token\.actions\.githubusercontent\.com\/?$/i,
    {
      name: 'GitHub Actions',
      claims: [
        ['repository'],
        ['repository_id'],
        ['repository_owner'],
        ['repository_owner_id'],
        ['enterprise'],
        ['enterprise_id'],
        ['sub'],
      ],
      example: 'require: { repository: [my-organisation/my-repository] }',
    },
  ],
  [
    /^(https:\/\/)?accounts\.google\.com\/?$/i,
    {
      name: 'Google',
      // an address counts only where Google has checked it
      claims: [['sub'], ['hd'], ['email', 'email_verified']],
      example: 'require: { email: [job@my-project.iam.gserviceaccount.com], email_verified: [true] }',
    },
  ],
  [
    /^https:\/\/gitlab\.com\/?$/i,
    {
      name: 'GitLab',
      claims: [['project_path'], ['project_id'], ['namespace_path'], ['namespace_id'], ['sub']],
      example: 'require: { project_path: [my-group/my-project] }',
    },
  ],
  [
    /^https:\/\/(login\.microsoftonline\.com|sts\.windows\.net)\/(consumers|9188040d-6c67-4c5b-b112-36a304b66dad)(\/|$)/i,
    { name: 'Microsoft for private accounts', claims: [['sub'], ['oid']], example: 'require: { sub: [the subject that you trust] }' },
  ],
]

/** Entra ID for every organisation. Its tokens name the organisation: `{tenantid}` stands for its id. */
const ENTRA = /^(https:\/\/(?:login\.microsoftonline\.com|sts\.windows\.net)\/)(common|organizations|\{tenantid\})(\/.*|)$/i
const ENTRA_RULE: PublicIssuer = {
  name: 'Entra ID',
  claims: [['tid']],
  example: 'require: { tid: [the id of your tenant] }; or name one tenant: issuer: https://login.microsoftonline.com/<tenant id>/v2.0',
}

/** @returns null for an issuer that signs only for its own organisation, as far as is known */
export function publicIssuerOf(issuer: string): PublicIssuer | null {
  if (ENTRA.test(issuer)) return ENTRA_RULE
  return PUBLIC.find(([pattern]) => pattern.test(issuer))?.[1] ?? null
}

const CONSUMERS = /^(https:\/\/(?:login\.microsoftonline\.com|sts\.windows\.net)\/)consumers(?=\/|$)/i

/** Tokens for private accounts name this tenant. */
const named = (issuer: string): string => issuer.replace(CONSUMERS, '$19188040d-6c67-4c5b-b112-36a304b66dad')

/** @returns the values of `iss` that the tokens of this issuer have */
export function issOf({ issuer, require }: Pick<IssuerConfig, 'issuer' | 'require'>): string[] {
  const [, before, , after] = ENTRA.exec(issuer) ?? []
  if (before === undefined) return [named(issuer)]
  const tenants = (require.tid ?? []).filter((tid) => typeof tid === 'string')
  return [...new Set(tenants)].map((tid) => `${before}${tid}${after}`)
}

/** Where the metadata of OpenID Connect Discovery are, and the issuer that they name. */
export function discoveryOf(issuer: string): { url: string; issuer: string } {
  const [, before, tenant, after] = ENTRA.exec(issuer) ?? []
  const base = before === undefined ? named(issuer) : `${before}${tenant === '{tenantid}' ? 'common' : tenant}${after}`
  return {
    url: `${base.replace(/\/$/, '')}/.well-known/openid-configuration`,
    issuer: before === undefined ? base : `${before}{tenantid}${after}`,
  }
}
