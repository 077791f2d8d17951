/** What docs/errors.md says of each error. Only the generator of that page imports these texts. */
import type { ErrorCode, FieldCode } from './errors.ts'

export interface ErrorGuide {
  /** When the error occurs: one sentence. */
  when: string
  /** What the client should do. */
  client: string
  /** What the operator should do, or `Nothing.` */
  operator: string
}

const NOTHING = 'Nothing.'
const LOG_IN = 'Log in again.'
const WAIT = 'Wait as long as `Retry-After` says, then send the request again.'

export const errorGuide: Record<ErrorCode, ErrorGuide> = {
  json_invalid: {
    when: 'The body of a request to the gateway itself is not JSON.',
    client: 'Send valid JSON in UTF-8.',
    operator: NOTHING,
  },
  target_ambiguous: {
    when: 'Servers could read the path of the request in different ways: it has dot segments, `//`, `%2f`, `;` or double escapes.',
    client: 'Send the path in its plain form. `detail` names the form that is refused.',
    operator: 'If the upstream needs this form, allow it with `allow` in the route.',
  },
  header_invalid: {
    when: 'A header is missing, repeated or malformed, or the request has two credentials.',
    client: 'Correct the header that `detail` names. Send one credential only.',
    operator: 'If every request fails, check which headers the proxy in front of the gateway adds.',
  },
  request_malformed: {
    when: 'The bytes on the connection are not valid HTTP/1.1, or the connection broke within the request.',
    client: 'Check the HTTP library. Send the request again on a new connection.',
    operator: 'If a balancer sends these requests, check that it speaks HTTP/1.1 to the gateway, and TLS where `server.tls` is set.',
  },
  upgrade_unsupported: {
    when: 'A WebSocket handshake on a route with `websocket: true` has another method than GET. On other routes, and for other protocols, `Upgrade` is ignored.',
    client: 'Send the handshake as GET, or leave the header `Upgrade` out.',
    operator: NOTHING,
  },
  link_invalid: {
    when: 'The token of a mailed link is unknown, used, replaced by a newer link, or expired.',
    client: 'Ask for a new link.',
    operator: NOTHING,
  },
  flow_invalid: {
    when: 'A browser comes back from a provider without the cookie of its sign-in, after 10 minutes, or a second time. Or a mailed code is sent with an unknown `flow_token`, after 10 minutes, or after five wrong codes.',
    client: 'Begin the sign-in again, in one browser.',
    operator: 'If every sign-in fails, check that `server.publicUrl` is the address that browsers use.',
  },
  invitation_invalid: {
    when: 'The token of an invitation is unknown, used, withdrawn, replaced by a newer invitation, or expired; or it is of another address.',
    client: 'Ask for a new invitation.',
    operator: 'Send it again: `portcullis users invite`.',
  },
  logout_token_invalid: {
    when: 'A provider sends a logout token with a wrong signature, issuer, audience, age or form, or a second time.',
    client: 'Send a logout token of OpenID Connect Back-Channel Logout, once.',
    operator: 'The log names the cause. Check `issuer` and `clientId` of the provider.',
  },
  invalid_request: {
    when: 'A request to `/token`, `/introspect` or `/revoke` has a parameter that is missing, repeated or malformed.',
    client: 'Send a form (application/x-www-form-urlencoded) with each parameter once, and one client credential.',
    operator: NOTHING,
  },
  invalid_scope: {
    when: 'A machine client asks for a scope that it was not granted.',
    client: 'Ask for granted scopes, or leave `scope` out.',
    operator: 'If the client needs the scope, grant it with `PATCH /admin/clients/:id`.',
  },
  unsupported_grant_type: {
    when: 'A request to `/token` has another grant type than `client_credentials`.',
    client: 'Send `grant_type=client_credentials`. Users log in with `POST /login`.',
    operator: NOTHING,
  },
  token_missing: {
    when: 'The route needs a user or a machine client, and the request has no credential.',
    client:
      'Log in, then send the header `Authorization: Bearer <token>`. A page with a session cookie logs in again: its session has ended.',
    operator: 'If everyone may use the route, set `access: public` in it.',
  },
  token_invalid: {
    when: 'The access token or API key is malformed, unknown, or was issued by another gateway.',
    client: LOG_IN,
    operator: 'If all tokens fail, check `tokens.issuer`, `tokens.audience` and that all gateways share one database.',
  },
  token_expired: {
    when: 'The access token or API key has reached the end of its life.',
    client: 'Refresh the token with `POST /refresh`, then send the request again. Create a new API key.',
    operator: 'If new tokens are refused, check the clock of the database server.',
  },
  token_revoked: {
    when: 'The session ended, the API key was revoked, or the account changed since the token was issued.',
    client: 'Refresh the token once. If the refresh fails, log in again.',
    operator: NOTHING,
  },
  invalid_credentials: {
    when: 'The login is unknown, the password is wrong, or the account is disabled. The answer is the same for all of these.',
    client: 'Let the user correct the login and the password, and offer a link to reset the password.',
    operator: 'If many occur, look at `portcullis_logins_total` and at the audit log: somebody may be guessing passwords.',
  },
  provider_refused: {
    when: 'The user has cancelled at the provider, the answer of the provider is not valid, the address is not of `allowedDomains`, or the account is disabled.',
    client: 'Begin again, or log in in another way.',
    operator: 'The log names the cause. `invalid_client`: check `clientId` and the client secret.',
  },
  passkey_refused: {
    when: 'The signature, the challenge, the origin or the flags of a passkey are not right, its challenge is older than 5 minutes or was used, or the passkey was removed.',
    client: 'Begin again, or log in in another way. If the passkey was removed, delete it on the device.',
    operator:
      'The log names the cause. If every passkey fails, check `auth.passkeys.rpId` and `origins`: `portcullis check` explains them.',
  },
  invalid_client: {
    when: 'A machine client is unknown or disabled, or its secret or assertion is wrong.',
    client: 'Check `client_id`, and the secret or the key. Check that the clock of the machine is right.',
    operator: 'The log has the reason under the request id. If the secret is lost, use `portcullis clients rotate-secret`.',
  },
  refresh_invalid: {
    when: 'The refresh token is unknown, or its session has ended.',
    client: LOG_IN,
    operator: NOTHING,
  },
  refresh_expired: {
    when: 'The refresh token or its session has reached the end of its life.',
    client: LOG_IN,
    operator: NOTHING,
  },
  refresh_superseded: {
    when: 'A parallel request of the same client exchanged this refresh token a moment ago, and `auth.refresh.onRetry` is `reject`.',
    client: 'Use the newer token pair. Refresh in one place only, and let other requests wait for it.',
    operator: NOTHING,
  },
  invalid_code: {
    when: 'The code of the second factor, or the mailed code, is wrong or was used before.',
    client: 'Let the user enter the current code, or a backup code.',
    operator: 'If right codes fail, check the clock of the database server. Remove a lost factor with `portcullis users reset-factor`.',
  },
  mfa_token_invalid: {
    when: 'The second step of a login came too late, came twice, or the account changed after the first step.',
    client: 'Begin with `POST /login` again.',
    operator: NOTHING,
  },
  reauthentication_required: {
    when: 'The route or the action needs credentials that were shown recently.',
    client: 'Ask for the password and, if it is set up, the code. Send `POST /reauthenticate`, then use the new tokens.',
    operator: NOTHING,
  },
  refresh_reused: {
    when: 'A refresh token was used again after its successor was used: somebody may have copied it, so the session was ended.',
    client: 'Log in again. After each refresh, store the new refresh token and drop the old one.',
    operator: 'Treat it as a possible theft: the log has a line with `reason` `refresh_reused`, and the user gets a mail.',
  },
  forbidden: {
    when: 'The caller is known, but lacks a role or a scope, or comes from a network that the route refuses.',
    client: 'Do not try again. Show that the user has no access.',
    operator: 'If access is meant, grant the role with `portcullis users grant`, or change `access` or `networks` of the route.',
  },
  identity_too_large: {
    when: 'The roles and the names of an account do not fit in the headers that upstreams accept, so no token is issued.',
    client: 'Show `detail` to the user.',
    operator: 'Revoke roles of this account with `portcullis users revoke`.',
  },
  password_change_required: {
    when: 'The user must set a new password before anything else.',
    client: 'Ask for a new password, and send `POST /password/change`.',
    operator: NOTHING,
  },
  mfa_required: {
    when: 'A role or a route needs a second factor, and the session has none.',
    client: 'Let the user set up a factor with `POST /mfa/totp`, or log in with it.',
    operator: NOTHING,
  },
  email_confirmation_required: {
    when: 'The password is right, but an administrator has removed the second factor of the account, or the login comes from a new country under `auth.newCountry: factor`. A link was mailed to the address of the account.',
    client: 'Ask the user to open the link. Then send `POST /login` again.',
    operator: 'If the mail does not arrive, check `mail`. `portcullis users reset-factor` allows the login without a link.',
  },
  country_refused: {
    when: 'The address of the client is in a country that the route refuses, or in an unknown country. Or `auth.newCountry: deny` refuses a login from a new country, after all credentials were right.',
    client: 'Do not try again from the same network. Show `detail` to the user.',
    operator:
      'Check `access.countries` of the route. For a login, `portcullis users unlock` forgets the countries of the account. See [networks and countries](networks-and-countries.md).',
  },
  origin_untrusted: {
    when: 'A request by session cookie changes something, and neither `Sec-Fetch-Site` nor `Origin` shows that a page of this host sent it.',
    client: 'Send the request from a page of the gateway, or use an access token. Programs that are no browser use tokens.',
    operator: 'If the page is yours and of the same site, add its origin to `auth.browser.origins`.',
  },
  proxy_headers_invalid: {
    when: 'A request to `/verify` does not come from `server.trustedProxies`, or a header of `forwardAuth.dialect` is missing, repeated or malformed.',
    client: 'Nothing: the proxy in front of the service sends this request.',
    operator:
      'Use the configuration for your proxy in [forward-auth](forward-auth.md), and add the network of the proxy to `server.trustedProxies`.',
  },
  proof_of_work_required: {
    when: '`auth.proofOfWork` is enabled, and the request has no solution, or one that is wrong, older than 5 minutes, used, or for another action.',
    client: 'Get a challenge with `GET /challenge?for=…`, solve it, and send the request again.',
    operator: 'If users of slow devices complain, lower `auth.proofOfWork.tries`.',
  },
  email_unproven: {
    when: 'A first sign-in with a provider that gives no address, or whose addresses are not trusted while `auth.emailVerification` is `required`.',
    client: 'Register with the address, log in, and link the login of the provider.',
    operator: 'If nobody can give themselves an address there, set `trustEmail` and `allowedDomains` of the provider.',
  },
  registration_closed: {
    when: 'Somebody tries to register while `auth.registration` is `closed`.',
    client: 'Hide the form for registration.',
    operator: 'Create users with `portcullis users create`, or set `auth.registration: open`.',
  },
  route_not_found: {
    when: 'No route has this host and path.',
    client: 'Check the host and the path, also for capital letters.',
    operator: 'Compare with `portcullis routes`, which lists all routes in their order.',
  },
  not_found: {
    when: 'The user, session, key or client of this name or id does not exist, or belongs to somebody else.',
    client: 'Read the list again: the entry may have been removed.',
    operator: NOTHING,
  },
  method_not_allowed: {
    when: 'The path has a route, but not for this method.',
    client: 'Use a method that the header `Allow` names.',
    operator: 'If the method is meant to pass, add it to `match.methods` of the route.',
  },
  request_timeout: {
    when: 'The client sent the request, or read the answer, too slowly.',
    client: 'Send the request again. For large uploads, check the connection.',
    operator: 'If real clients are slow, raise `server.requestTimeoutMs`, or `timeouts` of the route.',
  },
  username_taken: {
    when: 'The username belongs to another account, or waits for its confirmation.',
    client: 'Ask for another username.',
    operator: NOTHING,
  },
  email_taken: {
    when: 'The e-mail address belongs to another account.',
    client: 'Offer the login and the link to reset the password.',
    operator: 'Set `auth.emailVerification: required` if answers must not show which addresses have accounts.',
  },
  already_linked: {
    when: 'A user links a login that belongs to another account, or a second login of the same provider.',
    client: 'Unlink it in the other account first, or sign in with it there.',
    operator: NOTHING,
  },
  last_credential: {
    when: 'A user without a password unlinks the last login.',
    client: 'Set a password, or link another login first.',
    operator: NOTHING,
  },
  passkey_exists: {
    when: 'A passkey is added that an account has already.',
    client: 'Log in with it, or add a passkey on another device.',
    operator: NOTHING,
  },
  mfa_already_enabled: {
    when: 'A second factor is to be set up, and the account has one.',
    client: 'Disable the old factor first with `DELETE /mfa/totp`.',
    operator: NOTHING,
  },
  mfa_not_enabled: {
    when: 'An action needs a second factor that is not set up, or whose set-up was not finished in time.',
    client: 'Begin with `POST /mfa/totp`, and confirm within 15 minutes.',
    operator: NOTHING,
  },
  last_admin: {
    when: 'The action would leave no active admin.',
    client: 'Make another user an admin first.',
    operator: 'Make another user an admin with `portcullis users grant`.',
  },
  limit_reached: {
    when: 'The user has the largest number of API keys, or 20 passkeys.',
    client: 'Revoke a key or remove a passkey that is not used any more.',
    operator: 'If users need more keys, raise `auth.apiKeys.maxPerUser`.',
  },
  body_too_large: {
    when: 'The body is larger than the limit of the route, or of the gateway itself.',
    client: 'Send a smaller body, or several requests.',
    operator: 'If larger bodies are meant, raise `body.maxBytes` of the route.',
  },
  target_too_long: {
    when: 'The path and the query together are too long.',
    client: 'Shorten the query, or send it in a body.',
    operator: 'If the targets are needed, raise `server.maxTargetBytes`.',
  },
  content_type_unsupported: {
    when: 'The body of a request to the gateway itself has another type than JSON.',
    client: 'Send `Content-Type: application/json`.',
    operator: NOTHING,
  },
  expectation_failed: {
    when: 'The header `Expect` has another value than `100-continue`.',
    client: 'Leave the header out.',
    operator: NOTHING,
  },
  validation_failed: {
    when: 'A field of the body or of the query is missing, unknown or wrong.',
    client: 'Show `detail`, or the entry of `errors` at each field. `errors[].code` is stable and can be translated.',
    operator: NOTHING,
  },
  upgrade_required: {
    when: 'A WebSocket handshake asks for another version than 13.',
    client: 'Use a WebSocket library that speaks version 13 (RFC 6455).',
    operator: NOTHING,
  },
  rate_limited: {
    when: 'A limit for requests, logins, registrations, mailed links, new API keys or wrong codes is reached.',
    client: WAIT,
    operator: 'If real clients reach the limit, raise it under `limits`. Behind a balancer, check `server.trustedProxies` first.',
  },
  streams_exceeded: {
    when: 'The user or the address holds as many WebSockets and event streams as `limits.streams` allows.',
    client: 'Close streams that are not used, and share one stream between tabs.',
    operator: 'If clients need more streams, raise `limits.streams`.',
  },
  headers_too_large: {
    when: 'The header section has too many fields or too many bytes.',
    client: 'Remove headers. Large cookies are the usual cause.',
    operator: 'If the headers are needed, raise `server.maxHeaders` or `server.maxHeaderBytes`.',
  },
  internal: {
    when: 'The gateway met an error that it does not expect.',
    client: 'Report `request_id`. Try again later.',
    operator: 'Find the request id in the log. The line with `unexpected error` has the stack: please report it.',
  },
  transfer_coding_unsupported: {
    when: 'The header `Transfer-Encoding` of a request names a coding other than `chunked`, such as gzip.',
    client: 'Send the body with `Content-Length` or as `chunked`. Name a compression in `Content-Encoding`.',
    operator: NOTHING,
  },
  upstream_unreachable: {
    when: 'No connection to the upstream could be made, or it broke before an answer.',
    client: 'Try again later. The upstream may have received the request.',
    operator: 'Check that the upstream runs, its name resolves and its port is open. `cause` in the log has the reason.',
  },
  upstream_invalid: {
    when: 'The answer of the upstream is not valid HTTP, or it switches to another protocol than WebSocket.',
    client: 'Report `request_id`.',
    operator: 'Look at `cause` in the log, and correct the upstream.',
  },
  unavailable: {
    when: 'The database or Redis does not answer and the request needs it, or every upstream of the route has failed recently.',
    client: WAIT,
    operator:
      'Look at `/readyz?verbose` of the admin listener and at `portcullis_db_up`, `portcullis_redis_up`, `portcullis_upstream_breaker_state`.',
  },
  provider_unavailable: {
    when: 'A provider does not answer within some seconds, or answers with an error of its own.',
    client: 'Log in in another way, or wait as long as `Retry-After` says.',
    operator: 'The log names the cause. Check that the gateway reaches the issuer, and that it trusts the certificate (`caFile`).',
  },
  issuer_unavailable: {
    when: 'The token is of another issuer (`issuers`), and the keys of that issuer cannot be read.',
    client: WAIT,
    operator: 'The log line `issuer_keys_unread` names the cause. See [external issuers](external-issuers.md).',
  },
  overloaded: {
    when: 'The gateway is busy, or a queue is full: for password hashes, for mailed links, or for requests to the upstream.',
    client: WAIT,
    operator:
      'Look at `portcullis_shed_total`, at `portcullis_argon2_queued` and at `cause` in the log. Give the gateway more CPU, or raise the limit.',
  },
  upstream_timeout: {
    when: 'The upstream did not connect, answer or go on in the time that the route allows.',
    client: 'Try again later. The upstream may have received the request.',
    operator: 'Check the load of the upstream. If it needs more time, raise `timeouts` of the route.',
  },
}

/** What each code of a field means. */
export const fieldGuide: Record<FieldCode, string> = {
  required: 'The field is missing.',
  unknown: 'The endpoint does not know this field.',
  type: 'The value has the wrong JSON type.',
  format: 'The value has the wrong form.',
  too_short: 'The text is too short.',
  too_long: 'The text is too long.',
  too_few: 'The list or the object has too few entries.',
  too_many: 'The list has too many entries.',
  not_allowed: 'The value is not among the allowed values.',
  repeated: 'The value occurs twice.',
  in_past: 'The time must be in the future.',
  in_future: 'The time must be in the past.',
  taken: 'Another client has this name.',
  unknown_role: 'The configuration has no such role.',
  private_key: 'The key is a private key, and must be replaced.',
  unsupported_key: 'The kind, the algorithm or the strength of the key is not supported.',
  too_common: 'The password is among the passwords that attackers try first.',
  contains_name: 'The password is little more than a name of the user or of the service.',
  breached: 'The password is known from a data breach.',
  same_as_current: 'The new password is the current password.',
}
