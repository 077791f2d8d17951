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
  'refusal.not_allowed': 'is not allowed',
  'refusal.in_past': 'must be in the future',
  'refusal.too_common': 'is too common: attackers try it first',
  'refusal.contains_name': 'must be more than your name, your address or the name of this service',
  'refusal.breached': 'is known from a data breach: it must not be used anywhere',
  'refusal.same_as_current': 'must differ from the current password',

  // errors, by code; a code without a text is shown as the API shows it
  'error.invalid_credentials': 'The login or the password is wrong.',
  'error.origin_untrusted': 'The form was sent from another site. Nothing was changed. Check what you typed, and send it from here.',
  'error.rate_limited': 'Too many attempts. Please wait a moment.',
  'error.unavailable': 'The service is not available at the moment. Please try again in a moment.',
  'error.invalid_code': 'The code is wrong, or was used before. Enter the current code.',
  'error.username_taken': 'The username is taken. Choose another username.',
  'error.email_taken': 'The e-mail address is taken. Use another address.',
  'error.reauthentication_required': 'Please show again that it is you.',
  'error.mfa_already_enabled': 'A second factor is set up already.',
  'error.mfa_not_enabled': 'The set-up was not finished in time. Please begin again.',
  'error.last_admin': 'This is the last administrator. Make another user an administrator first.',
  'error.limit_reached': 'The largest number is reached. Remove an old entry first.',
  'error.not_found': 'This does not exist any more.',
  'error.forbidden': 'You may not do this.',
  'error.validation_failed': 'Please check what you entered.',

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
  'account.title': 'Your account',
  'account.overview': 'Overview',
  'account.greeting': 'Logged in as {name}',
  'account.since': 'Account since',
  'account.last-login': 'Last login:',
  'account.save': 'Save',
  'account.copy': 'Copy',
  'account.copied': 'Copied',
  'account.print': 'Print',
  'account.download': 'Download',
  'account.proof': 'Your login is some time ago. Please show again that it is you.',
  'account.wrong-password': 'The password is wrong.',
  'account.code-hint': 'From your authenticator app, or one of your backup codes.',
  'account.profile.title': 'Profile',
  'account.username-hint': '3 to 32 characters: letters a to z, digits, dot, hyphen and underscore.',
  'account.username-saved': 'Your username is saved.',
  'account.email.proven': 'Confirmed',
  'account.email.unproven': 'Not confirmed',
  'account.email.prove': 'Open the link in our mail to confirm that this address is yours.',
  'account.email.resend': 'Send another link',
  'account.email.resent': 'If the address can get mail from us, another link is on its way.',
  'account.email.waiting': 'New address: {email}. It counts once you open the link that was mailed there.',
  'account.email.change': 'Change the address',
  'account.email.new': 'New e-mail address',
  'account.email.hint': 'The new address counts at once. We mail a link to confirm it.',
  'account.email.hint-required': 'We mail a link to the new address. The address counts once you open the link.',
  'account.email.submit': 'Change the address',
  'account.email.saved': 'Your e-mail address is saved.',
  'account.email.asked': 'Open the link that was mailed to the new address. Until then your old address counts.',
  'account.password.title': 'Password',
  'account.password.must': 'Please choose a new password before you go on.',
  'account.password.intro': 'A new password logs out all your other devices.',
  'account.password.hint': 'At least {count} characters. A sentence that only you know is a good choice.',
  'account.password.submit': 'Change the password',
  'account.password.changed': 'Your password is changed. All other devices are logged out.',

  // account: factors
  'account.factors.title': 'Two-step login',
  'account.factors.on': 'On',
  'account.factors.off': 'Off',
  'account.factors.advice': 'An app on your phone protects your account better than a password alone.',
  'account.factors.left': 'Backup codes left: {count}.',
  'account.factors.few': 'Make new codes before they run out.',
  'account.factors.required': 'Your account needs a two-step login before you can go on.',
  'account.factors.intro':
    'After your password, we ask for a code from an authenticator app. Any such app works. First, enter your password.',
  'account.factors.begin': 'Set up an app',
  'account.factors.scan': 'Scan this picture with your authenticator app.',
  'account.factors.qr': 'QR code for your authenticator app',
  'account.factors.by-hand': 'I cannot scan the picture',
  'account.factors.secret': 'Type this key into the app:',
  'account.factors.secret-hint': 'Kind: time-based. Digits: 6. Spaces do not matter.',
  'account.factors.open-app': 'Open an app on this device',
  'account.factors.type-code': 'Enter the code that the app shows now.',
  'account.factors.code-hint': '6 digits. Set up the app within 15 minutes.',
  'account.factors.confirm': 'Confirm',
  'account.factors.cancel': 'Cancel',
  'account.factors.is-on': 'Your login asks for a code from your authenticator app.',
  'account.factors.now-on': 'The two-step login is on. All other devices are logged out.',
  'account.factors.remove': 'Turn the two-step login off',
  'account.factors.remove-means':
    'Your password alone will log in. Your backup codes become invalid, and all other devices are logged out.',
  'account.factors.now-off': 'The two-step login is off.',
  'account.codes.title': 'Backup codes',
  'account.codes.intro': 'If you lose your phone, each of these codes logs you in once in place of the app. Keep them in a safe place.',
  'account.codes.once': 'The codes are shown only now.',
  'account.codes.file': 'backup-codes.txt',
  'account.codes.saved': 'I have saved the codes',
  'account.codes.continue': 'I have saved the codes: continue',
  'account.codes.renew': 'Make new backup codes',
  'account.codes.renew-means': 'Your old backup codes become invalid.',
  'account.codes.renewed': 'These are your new backup codes. The old codes are invalid.',

  // account: sessions
  'account.sessions.title': 'Devices',
  'account.sessions.intro': 'You are logged in on these devices. Log out a device that you do not know, and change your password.',
  'account.sessions.one': '1 device is logged in',
  'account.sessions.many': '{count} devices are logged in',
  'account.sessions.this': 'This device',
  'account.sessions.mfa': 'Two-step login',
  'account.sessions.unknown': 'Unknown device',
  'account.sessions.from': 'Address',
  'account.sessions.since': 'Since',
  'account.sessions.used': 'Last used',
  'account.sessions.until': 'until',
  'account.sessions.end': 'Log out',
  'account.sessions.ended': 'The device is logged out.',
  'account.sessions.others': 'Log out all other devices',
  'account.sessions.others-ended': 'All other devices are logged out.',
  'account.sessions.all': 'Log out everywhere',
  'account.sessions.all-means': 'This device is logged out, too. API keys that these devices made become invalid.',

  // account: api keys
  'account.keys.title': 'API keys',
  'account.keys.intro': 'A program with an API key acts for you. Give each program a key of its own.',
  'account.keys.one': '1 key',
  'account.keys.many': '{count} keys',
  'account.keys.none': 'You have no API keys.',
  'account.keys.new': 'Your new key.',
  'account.keys.once': 'Copy it now: it is not shown again.',
  'account.keys.how': 'A program sends it in the header',
  'account.keys.made': 'Made',
  'account.keys.used': 'Last used',
  'account.keys.unused': 'Never used',
  'account.keys.until': 'Expires',
  'account.keys.endless': 'Never expires',
  'account.keys.expired': 'Expired',
  'account.keys.revoke': 'Revoke',
  'account.keys.revoke-means': 'Programs that use this key are refused at once. This cannot be undone.',
  'account.keys.revoke-now': 'Revoke the key',
  'account.keys.revoked': 'The key is revoked.',
  'account.keys.new-title': 'New key',
  'account.keys.name': 'Name',
  'account.keys.name-hint': 'Such as the program that will use it.',
  'account.keys.life': 'Valid for',
  'account.keys.month': '30 days',
  'account.keys.quarter': '90 days',
  'account.keys.year': '1 year',
  'account.keys.date': 'Until a date',
  'account.keys.forever': 'Without end',
  'account.keys.on': 'Last day',
  'account.keys.access': 'What the key may do',
  'account.keys.all': 'All that you may do',
  'account.keys.chosen': 'Only what is chosen here',
  'account.keys.choose': 'Choose at least one role or scope.',
  'account.keys.roles': 'Roles',
  'account.keys.scopes': 'Scopes',
  'account.keys.scopes-hint': 'Without a choice, the key gets the scopes of its roles.',
  'account.keys.create': 'Create the key',

  // account: delete
  'account.delete.title': 'Delete account',
  'account.delete.intro': 'This deletes the account {name}, with all personal data:',
  'account.delete.profile': 'your username and your e-mail address',
  'account.delete.sessions': 'your logins on all devices',
  'account.delete.keys': 'your API keys: programs that use them are refused at once',
  'account.delete.factors': 'your authenticator app and your backup codes',
  'account.delete.kept':
    'A log of security events stays, without your name and your address. Data that other services hold about you is not deleted here.',
  'account.delete.final': 'This cannot be undone.',
  'account.delete.confirm': 'Yes, delete my account',
  'account.delete.unconfirmed': 'Tick the box if you want to delete your account.',
  'account.delete.submit': 'Delete the account',
  'account.delete.keep': 'Keep the account',
  'account.deleted.title': 'Account deleted',
  'account.deleted.text': 'Your account and your personal data are deleted.',

  // refusals and errors as pages

  // mails

  // console

  // console: health, routes, errors, configuration
} as const

export type TextKey = keyof typeof en
