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

  // console: health, routes, errors, configuration
} as const

export type TextKey = keyof typeof en
