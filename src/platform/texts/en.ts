/**
 * All texts that users read, in English. `{name}` stands for a value. The other languages have the same keys (de.ts, and files of
 * `auth.browser.texts`). Keys begin with their page.
 */
export const en = {
  // every page
  'page.skip': 'To the content',
  'page.language': 'Language',
  'page.support': 'Help',
  'page.account': 'Your account',
  'page.log-out': 'Log out',
  'page.back': 'Back',
  'page.continue': 'Continue',
  'page.show-password': 'Show the password',
  'page.try-again': 'Please try again in a moment.',
  'page.request-id': 'Request id: {id}',
  'page.saved': 'Saved.',

  // fields
  'field.login': 'E-mail address or username',
  'field.username': 'Username',
  'field.email': 'E-mail address',
  'field.password': 'Password',
  'field.new-password': 'New password',
  'field.current-password': 'Current password',
  'field.code': 'Code',

  // refusals of a field, by code: the field is the subject
  'refusal.required': 'is required',
  'refusal.unknown': 'is not known',
  'refusal.type': 'has the wrong type',
  'refusal.format': 'does not have the right form',
  'refusal.too_short': 'is too short',
  'refusal.too_long': 'is too long',
  'refusal.taken': 'is taken',

  // errors, by code; a code without a text is shown as the API shows it
  'error.invalid_credentials': 'The login or the password is wrong.',
  'error.origin_untrusted': 'The form was sent from another site. Nothing was changed. Check what you typed, and send it from here.',
  'error.rate_limited': 'Too many attempts. Please wait a moment.',
  'error.unavailable': 'The service is not available at the moment. Please try again in a moment.',

  // login
  'login.title': 'Log in',
  'login.remember': 'Stay logged in',
  'login.submit': 'Log in',
  'login.forgot': 'Forgotten your password?',
  'login.register': 'Create an account',

  // factor

  // register

  // verify, forgot, reset, confirm

  // logout

  // account

  // account: factors

  // account: sessions

  // account: api keys

  // account: delete

  // refusals and errors as pages

  // mails

  // console
  'console.name': 'Console',
  'console.navigation': 'Sections of the console',
  'console.users': 'Users',
  'console.next': 'Next page',
  'console.error': 'This did not work',
  'console.refused': 'The console is not here',
  'console.refused-host': 'The console does not answer under this host name. An operator can add the name to auth.browser.consoleHosts.',
  'console.refused-transport':
    'The console answers only over https, or in a browser on the machine of the gateway. Open it over https, or through a tunnel such as ssh -L.',
  'console.forbidden': 'This account is no administrator',
  'console.forbidden-why': '{name} does not have the role admin. Log out, and log in as an administrator.',
  'console.must-change': 'Change your password first',
  'console.must-change-why': 'The password of this account must be changed before it can administer. Then log in here again.',
  'console.owes-factor': 'Set up a second factor first',
  'console.owes-factor-why': 'A role of this account needs a second factor. Set it up, then log in here again.',
  'console.to-account': 'To your account',
  'console.stale':
    'Your last login is too long ago for a change. What you typed is still here: log in again in another tab, then send the form again.',
  'console.stale-login': 'Log in again',
  'console.utc': 'All times are UTC.',
  'console.cancel': 'Cancel',
  'console.save': 'Save',
  'console.all': 'All',
  'console.none': 'None',
  'console.never': 'Never',
  'console.yes': 'Yes',
  'console.no': 'No',
  'console.pages': 'Pages',
  'console.first': 'First page',
  'console.search': 'Search',
  'console.order': 'Order',
  'console.filter': 'Filter',
  'console.filter-clear': 'Clear',
  'console.user': 'User',
  'console.role': 'Role',
  'console.roles': 'Roles',
  'console.scopes': 'Scopes',
  'console.created': 'Created',
  'console.expires': 'Expires',
  'console.began': 'Began',
  'console.last-used': 'Last used',
  'console.last-login': 'Last login',
  'console.disabled-since': 'Disabled since',
  'console.verified-at': 'Verified',
  'console.address-vouched': 'given by an operator',
  'console.id': 'Id',
  'console.name-of': 'Name',
  'console.actions': 'Actions',
  'console.action': 'Action',
  'console.device': 'Device',
  'console.device-unknown': 'Unknown device',
  'console.address': 'Address',
  'console.factor': 'Second factor',
  'console.sessions': 'Sessions',
  'console.session-end': 'End the session',
  'console.api-keys': 'API keys',
  'console.api-key-revoke': 'Revoke the key',
  'console.at': 'Time',
  'console.event': 'Event',
  'console.outcome': 'Outcome',
  'console.actor': 'Done by',
  'console.first-password': 'First password',
  'console.first-password-hint': 'The user must change it at the first login. Leave the field empty to have a password made.',
  'console.roles-inherited': 'Inherited roles',
  'console.roles-added': 'Further roles',
  'console.scopes-added': 'Further scopes',
  'console.roles-lost': 'Lost roles',
  'console.scopes-lost': 'Lost scopes',
  'console.role-add': 'Another role',
  'console.role-grant': 'Give the role',
  'console.role-take': 'Take the role away',
  'console.role-revoke': 'Take away {role}',
  'console.metadata': 'Metadata',
  'console.metadata-of': 'Metadata of {name}',
  'console.metadata-edit': 'Change the metadata',
  'console.metadata-public': 'Public part',
  'console.metadata-admin': 'Part for administrators',
  'console.metadata-public-hint': 'A JSON object. The user can read it.',
  'console.metadata-admin-hint': 'A JSON object. Only administrators can read it.',
  'console.metadata-json': 'This is not valid JSON: {reason}',
  'console.metadata-type': 'This must be a JSON object, such as {"plan": "gold"}.',
  'console.metadata-null': 'A value must not be null. Leave the member out to remove it.',
  'console.metadata-changed': 'The metadata were changed by somebody else meanwhile. Open the page again to see the new values.',
  'console.users-new': 'New user',
  'console.users-create': 'Create the user',
  'console.users-created': 'The user was created',
  'console.users-created-why': 'Pass this password to {name} on a safe way. It is shown only now, and must be changed at the first login.',
  'console.users-created-next': 'I have passed it on',
  'console.users-none': 'No user matches.',
  'console.users-search-hint': 'A part of the username or the e-mail address, or an id.',
  'console.users-state': 'State',
  'console.users-state-active': 'Active',
  'console.users-state-disabled': 'Disabled',
  'console.users-address-verified': 'Verified',
  'console.users-address-unverified': 'Unverified',
  'console.users-factor-with': 'Set up',
  'console.users-factor-without': 'Not set up',
  'console.users-order-newest': 'Newest first',
  'console.users-order-oldest': 'Oldest first',
  'console.users-order-email': 'By e-mail address',
  'console.user-must-change': 'Must change the password',
  'console.user-must-confirm': 'Must confirm the next login',
  'console.user-events': 'Last events',
  'console.user-all-events': 'All events in the audit log',
  'console.user.own': 'This is your own account. You will be logged out.',
  'console.user.create-done': 'The user was created.',
  'console.user.unlock': 'Unlock',
  'console.user.unlock-title': 'Unlock {name}?',
  'console.user.unlock-what': 'The counts of failed passwords and codes start again. The user need not wait before the next login.',
  'console.user.unlock-done': 'The failed logins were cleared.',
  'console.user.enable': 'Enable',
  'console.user.enable-title': 'Enable {name}?',
  'console.user.enable-what': 'The user can log in again.',
  'console.user.enable-done': 'The user is enabled.',
  'console.user.disable': 'Disable',
  'console.user.disable-title': 'Disable {name}?',
  'console.user.disable-what':
    'All sessions end at once, and no API key of the user works. The user cannot log in until somebody enables the account again. Nothing is deleted.',
  'console.user.disable-done': 'The user is disabled, and all sessions have ended.',
  'console.user.end-sessions': 'End all sessions',
  'console.user.end-sessions-title': 'End all sessions of {name}?',
  'console.user.end-sessions-what': 'The user is logged out everywhere at once, and can log in again.',
  'console.user.end-sessions-done': 'All sessions have ended.',
  'console.user.force-password-change': 'Force a new password',
  'console.user.force-password-change-title': 'Force a new password for {name}?',
  'console.user.force-password-change-what':
    'All sessions end at once. After the next login, the user can do nothing before setting a new password.',
  'console.user.force-password-change-done': 'The user must set a new password at the next login.',
  'console.user.reset-factor': 'Remove the second factor',
  'console.user.reset-factor-title': 'Remove the second factor of {name}?',
  'console.user.reset-factor-what':
    'The authenticator app and the backup codes stop working, and all sessions end. The user gets a mail, and confirms the next login by a mailed link. Make sure that it is the user who asks for this.',
  'console.user.reset-factor-done': 'The second factor was removed.',
  'console.user.delete': 'Delete',
  'console.user.delete-title': 'Delete {name}?',
  'console.user.delete-what':
    'The account goes for good, with its personal data, its sessions and its API keys. This cannot be undone. The audit log stays complete, without names and addresses.',
  'console.user.delete-done': 'The user was deleted.',
  'console.user.grant-title': 'Give the role {role} to {name}?',
  'console.user.grant-what': 'The user may do more from the next refresh on.',
  'console.user.grant-done': 'The role was given.',
  'console.user.revoke-title': 'Take the role {role} from {name}?',
  'console.user.revoke-what': 'The user is without the role from now on. Sessions go on with the other roles.',
  'console.user.revoke-done': 'The role was taken away.',
  'console.user.end-session-title': 'End a session of {name}?',
  'console.user.end-session-what': 'The user is logged out there at once.',
  'console.user.end-session-done': 'The session has ended.',
  'console.user.revoke-key-title': 'Revoke an API key of {name}?',
  'console.user.revoke-key-what':
    'Every request with this key is refused from now on. Programs that use it stop working. This cannot be undone.',
  'console.user.revoke-key-done': 'The API key was revoked.',
  'console.clients': 'Machine clients',
  'console.clients-what': 'Programs that get their own access tokens by client_id and secret, or by a signed assertion.',
  'console.clients-new': 'New machine client',
  'console.clients-create': 'Create the client',
  'console.clients-none': 'There are no machine clients yet.',
  'console.client-roles-hint': 'Names of roles, with spaces between them.',
  'console.client-scopes-hint': 'Scopes, with spaces between them.',
  'console.client-jwks': 'Public keys',
  'console.client-jwks-hint': 'A JSON Web Key Set (RFC 7517). Leave it empty for a client with a secret.',
  'console.client-method': 'Authentication',
  'console.client-secret-of': 'The secret of {name}',
  'console.client-secret-once': 'Store the secret now. It is shown only on this page.',
  'console.secret-stored': 'I have stored it',
  'console.client.create-done': 'The machine client was created.',
  'console.client.rotate-secret': 'New secret',
  'console.client.rotate-secret-title': 'Make a new secret for {name}?',
  'console.client.rotate-secret-what':
    'The old secret or the public keys stop working at once, and all tokens of the client end. The program works again when it has the new secret.',
  'console.client.disable': 'Disable',
  'console.client.disable-title': 'Disable {name}?',
  'console.client.disable-what': 'All tokens of the client end at once, and it gets no new tokens until somebody enables it again.',
  'console.client.disable-done': 'The machine client is disabled.',
  'console.client.enable': 'Enable',
  'console.client.enable-title': 'Enable {name}?',
  'console.client.enable-what': 'The client can get tokens again, with the credential that it had.',
  'console.client.enable-done': 'The machine client is enabled.',
  'console.client.delete': 'Delete',
  'console.client.delete-title': 'Delete {name}?',
  'console.client.delete-what': 'All tokens of the client end at once, and its credential is refused. This cannot be undone.',
  'console.client.delete-done': 'The machine client was deleted.',

  // console: health, routes, errors, configuration
} as const

export type TextKey = keyof typeof en
