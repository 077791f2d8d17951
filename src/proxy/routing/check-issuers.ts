/** Rules about other issuers whose tokens are accepted. */
import { issOf, publicIssuerOf } from '../../identity/issuers/public-issuers.ts'
import { foldType, UNTYPED } from '../../identity/issuers/token-types.ts'
import { adminRoles, createRoles } from '../../identity/users/roles.ts'
import { isHarmless } from '../../platform/config/harmless.ts'
import type { Config, IssuerConfig } from '../../platform/config/schema.ts'
import { isSafeUrl } from '../../platform/lib/safe-url.ts'
import type { Finding } from './finding.ts'

type Path = Finding['path']

export function checkIssuers(config: Config, problems: Finding[], warnings: Finding[]): void {
  const { issuers } = config
  issuers.forEach((issuer, i) => {
    const path = ['issuers', i]
    if (issuers.findIndex(({ id }) => id === issuer.id) < i)
      problems.push({
        path: [...path, 'id'],
        message: `${shown(issuer.id, 'this id')} is used twice`,
        hint: 'give each issuer an id of its own',
      })
    checkAddresses(config, issuer, i, problems)
    checkPublic(issuer, path, problems)
    checkTypes(issuer, path, problems, warnings)
    checkRoles(config, issuer, path, problems)
  })
}

const shown = (name: string, otherwise: string): string => (isHarmless(name) ? name : otherwise)

function checkAddresses({ issuers, tokens }: Config, settings: IssuerConfig, i: number, problems: Finding[]): void {
  const { issuer, jwksUri, tokenFile } = settings
  const path = ['issuers', i]
  const at = [...path, 'issuer']
  const writesHttps = (key: 'issuer' | 'jwksUri', value: string) => {
    if (!URL.canParse(value)) problems.push({ path: [...path, key], message: 'is not a URL', hint: 'write it as the issuer does' })
    else if (!isSafeUrl(value))
      problems.push({ path: [...path, key], message: 'must begin with https://', hint: 'plain http is for an issuer on this machine' })
  }
  // the keys vouch for the tokens: without jwksUri they come from the address of the issuer
  if (jwksUri === undefined) writesHttps('issuer', issuer)
  else writesHttps('jwksUri', jwksUri)
  const own = issOf(settings)
  if (own.includes(tokens.issuer))
    problems.push({
      path: at,
      message: 'is this gateway itself (tokens.issuer)',
      hint: 'name another issuer; our own tokens are accepted anyway',
    })
  if (issuers.slice(0, i).some((other) => issOf(other).some((iss) => own.includes(iss))))
    problems.push({ path: at, message: 'is used twice', hint: 'write one entry for each issuer, with a list of audiences' })
  if (tokenFile !== undefined && jwksUri === undefined)
    problems.push({
      path: [...path, 'tokenFile'],
      message: 'needs jwksUri: the token must not go where a document of the issuer sends it',
      hint: 'name the address, such as https://kubernetes.default.svc/openid/v1/jwks',
    })
}

function checkPublic({ issuer, require }: IssuerConfig, path: Path, problems: Finding[]): void {
  const rule = publicIssuerOf(issuer)
  if (!rule || rule.claims.some((claims) => claims.every((claim) => saysWhose(require, claim)))) return
  const claims = rule.claims.map((names) => names.join(' with ')).join(', ')
  const count = rule.claims.length > 1 ? 'one of these claims' : 'this claim'
  problems.push({
    path: [...path, 'require'],
    message: `must name ${count}: ${claims}; at ${rule.name}, anybody gets a token for any audience`,
    hint: `say whose tokens you accept: ${rule.example}`,
  })
}

/** `email_verified: [false]` names nobody. A value that is no list has a problem of its own. */
const saysWhose = (require: IssuerConfig['require'], claim: string): boolean =>
  Object.hasOwn(require, claim) && ![require[claim]].flat().includes(false)

const OTHER_KINDS = ['logout+jwt', 'secevent+jwt', 'dpop+jwt', 'token-introspection+jwt', 'oauth-authz-req+jwt']

function checkTypes({ typ, require }: IssuerConfig, path: Path, problems: Finding[], warnings: Finding[]): void {
  const types = [typ].flat().map(foldType)
  const other = types.find((one) => OTHER_KINDS.includes(one))
  if (other) problems.push({ path: [...path, 'typ'], message: `${other} is the type of another kind of token`, hint: 'use at+jwt or JWT' })
  if (types.some((one) => UNTYPED.has(one)) && Object.keys(require).length === 0)
    warnings.push({
      path: [...path, 'typ'],
      message: 'tells access tokens and ID tokens not apart, and require is empty',
      hint: 'require a claim that only access tokens have; docs/external-issuers.md has one for each product',
    })
}

function checkRoles({ auth }: Config, { roles }: IssuerConfig, path: Path, problems: Finding[]): void {
  if (roles === undefined) return
  const administrators = adminRoles(auth.roles)
  const grantsOf = createRoles(auth.roles)
  // a value that is no list has a problem of its own
  for (const [value, given] of Object.entries(roles.map))
    for (const [i, role] of Array.isArray(given) ? given.entries() : []) {
      if (typeof role !== 'string') continue
      const at = [...path, 'roles', 'map', value, i]
      const name = shown(role, 'this role')
      const needsFactor = grantsOf([role]).roles.find((one) => auth.mfa.requiredForRoles.includes(one))
      if (administrators.includes(role))
        problems.push({
          path: at,
          message: `${name === 'admin' ? 'admin' : `${name} includes admin, which`} cannot be given by another issuer`,
          hint: 'administrators log in here; give another role',
        })
      else if (!Object.hasOwn(auth.roles, role))
        problems.push({
          path: at,
          message: `${name} is not defined`,
          hint: `use one of these: ${Object.keys(auth.roles)
            .filter((one) => !administrators.includes(one) && isHarmless(one))
            .join(', ')}; or define it in auth.roles`,
        })
      else if (needsFactor !== undefined)
        problems.push({
          path: at,
          message: `needs a second factor (auth.mfa.requiredForRoles), which no token of another issuer has`,
          hint: 'give another role: with this one, every token would be refused',
        })
    }
}
