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
  'page.check-fields': 'Nothing was changed. Please check the marked fields.',
  'page.look-into-mail': 'Look into your mail',
  'page.no-mail': 'No mail? Look into the folder for unwanted mail, or try again in a few minutes.',
  'page.to-login': 'To the login',
  'page.password-hint': 'At least {minLength} characters. A few unusual words are easy to remember and hard to guess.',
  'page.link-hint': 'Copy the whole link from the mail, and paste it here.',
  'page.link-asked': 'The link was asked for on {when}, for {email}.',
  'page.link-asked-from': 'The link was asked for from {device} on {when}, for {email}.',

  // fields
  'field.login': 'E-mail address or username',
  'field.username': 'Username',
  'field.email': 'E-mail address',
  'field.password': 'Password',
  'field.new-password': 'New password',
  'field.current-password': 'Current password',
  'field.code': 'Code',
  'field.link': 'Link from the mail',
  'field.account': 'Account',

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
  'error.rate_limited-for': 'Too many attempts. Please try again in {wait}.',
  'error.unavailable': 'The service is not available at the moment. Please try again in a moment.',
  'error.validation_failed': 'Something in the form is not right. Please check it.',
  'error.link_invalid': 'The link is not valid, was used before, or has expired. Please ask for a new link.',
  'error.overloaded': 'The service is busy. Please try again in a moment.',

  // login
  'login.title': 'Log in',
  'login.remember': 'Stay logged in',
  'login.submit': 'Log in',
  'login.forgot': 'Forgotten your password?',
  'login.register': 'Create an account',

  // factor

  // register

  // verify, forgot, reset, confirm
  'verify.title': 'Confirm your e-mail address',
  'verify.lead': 'You have opened the link that was mailed to you. Confirm that the address is yours.',
  'verify.password-hint':
    'The password that you chose for this account. If you have forgotten it, register again, or ask for a new password.',
  'verify.submit': 'Confirm the address',
  'verify.sent': 'If the address waits for its confirmation, a link is on its way. Open the link to continue.',
  'verify.no-mail': 'No mail?',
  'verify.again': 'Send the link again',
  'verify.done': 'Thank you. Your address is confirmed.',
  'forgot.title': 'Forgotten password',
  'forgot.lead': 'Enter the e-mail address of your account. We mail you a link that sets a new password.',
  'forgot.submit': 'Send the link',
  'forgot.sent': 'If there is an account with this address, a link is on its way. It is valid for 30 minutes.',
  'forgot.again': 'Try another address',
  'reset.title': 'Set a new password',
  'reset.lead': 'You have opened the link that was mailed to you. Every device will have to log in again, and API keys end.',
  'reset.keep-api-keys': 'Keep my API keys',
  'reset.submit': 'Set the password',
  'reset.done': 'The new password is set. Please log in with it.',
  'confirm.title': 'Confirm your login',
  'confirm.lead': 'An administrator removed your second factor, and your password was used to log in. Confirm only if it was you.',
  'confirm.submit': 'Yes, it was me',
  'confirm-login.done': 'Thank you. Please log in again.',

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
