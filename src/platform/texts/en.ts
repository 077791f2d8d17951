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

  // console: health, routes, errors, configuration
} as const

export type TextKey = keyof typeof en
