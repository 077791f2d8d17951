/** Rules about the providers that users sign in with. */
import { isHarmless } from '../../platform/config/harmless.ts'
import type { Config, ProviderConfig } from '../../platform/config/schema.ts'
import { isSafeUrl } from '../../platform/lib/safe-url.ts'
import type { Finding } from './finding.ts'

export function checkProviders(config: Config, problems: Finding[], warnings: Finding[]): void {
  const { providers, browser } = config.auth
  if (providers.length === 0) return
  const at = ['auth', 'providers']
  if (!browser.enabled)
    problems.push({
      path: at,
      message: 'needs auth.browser.enabled: the browser brings users back with a cookie',
      hint: 'set auth.browser.enabled: true',
    })
  const { publicUrl } = config.server
  if (!isSafeUrl(publicUrl))
    warnings.push({
      path: ['server', 'publicUrl'],
      message: 'is not https: providers send users back only to https addresses, except on this machine',
      hint: 'set it to the https address that browsers use',
    })
  providers.forEach((provider, i) => {
    const path = [...at, i]
    if (providers.findIndex(({ id }) => id === provider.id) < i)
      problems.push({
        path: [...path, 'id'],
        message: `${isHarmless(provider.id) ? provider.id : 'this id'} is used twice`,
        hint: 'give each provider an id of its own',
      })
    checkIssuer(provider, path, problems)
    checkSecret(provider, path, problems)
    checkEmail(provider, path, problems)
    checkRoles(config, provider, path, problems)
  })
}

function checkIssuer({ kind, issuer, scopes }: ProviderConfig, path: Finding['path'], problems: Finding[]): void {
  if (issuer === undefined) {
    if (kind === 'oidc') problems.push({ path, message: 'issuer is missing', hint: 'name the issuer, such as https://accounts.google.com' })
  } else if (!URL.canParse(issuer))
    problems.push({
      path: [...path, 'issuer'],
      message: 'is not a URL',
      hint: 'write it as the provider does, such as https://accounts.google.com',
    })
  else if (!isSafeUrl(issuer))
    problems.push({ path: [...path, 'issuer'], message: 'must begin with https://', hint: 'plain http is for a provider on this machine' })
  if (kind === 'oidc' && scopes !== undefined && !scopes.includes('openid'))
    problems.push({ path: [...path, 'scopes'], message: 'must include openid: without it the provider sends no ID token' })
}

function checkSecret({ kind, clientSecretEnv, clientSecretJwt }: ProviderConfig, path: Finding['path'], problems: Finding[]): void {
  if (kind !== 'apple' && clientSecretJwt !== undefined)
    problems.push({
      path: [...path, 'clientSecretJwt'],
      message: 'is for apple',
      hint: 'name the variable of the client secret in clientSecretEnv',
    })
  else if ((clientSecretEnv === undefined) === (clientSecretJwt === undefined))
    problems.push({
      path,
      message: clientSecretEnv === undefined ? 'clientSecretEnv is missing' : 'has both clientSecretEnv and clientSecretJwt',
      hint:
        kind === 'apple'
          ? 'set clientSecretJwt: { teamId, keyId, keyFile }, so that the gateway signs the client secret'
          : 'name the variable that holds the client secret, such as GOOGLE_CLIENT_SECRET',
    })
}

function checkEmail({ trustEmail, allowedDomains }: ProviderConfig, path: Finding['path'], problems: Finding[]): void {
  if (trustEmail && allowedDomains.length === 0)
    problems.push({
      path: [...path, 'trustEmail'],
      message: 'needs allowedDomains: a person with an address at this provider gets the account with this address',
      hint: "list the domains of your organisation; or ['*'], if the provider checks every address",
    })
}

function checkRoles({ auth }: Config, { kind, roles }: ProviderConfig, path: Finding['path'], problems: Finding[]): void {
  if (roles === undefined) return
  if (kind === 'github')
    problems.push({ path: [...path, 'roles'], message: 'has no effect: GitHub sends no claims', hint: 'remove it, and grant roles here' })
  // a value that is no list has a problem of its own
  for (const [value, granted] of Object.entries(roles.map))
    for (const [i, role] of Array.isArray(granted) ? granted.entries() : [])
      if (!Object.hasOwn(auth.roles, role))
        problems.push({
          path: [...path, 'roles', 'map', value, i],
          message: `${isHarmless(role) ? role : 'this role'} is not defined`,
          hint: `use one of these: ${Object.keys(auth.roles).filter(isHarmless).join(', ')}; or define it in auth.roles`,
        })
}
