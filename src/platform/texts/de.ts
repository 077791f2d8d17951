/** All texts that users read, in German. */
import type { TextKey } from './en.ts'

export const de: Record<TextKey, string> = {
  // every page
  'page.skip': 'Zum Inhalt',
  'page.language': 'Sprache',
  'page.support': 'Hilfe',
  'page.account': 'Ihr Konto',
  'page.log-out': 'Abmelden',
  'page.back': 'Zurück',
  'page.continue': 'Weiter',
  'page.show-password': 'Passwort anzeigen',
  'page.try-again': 'Bitte versuchen Sie es gleich noch einmal.',
  'page.request-id': 'Kennung der Anfrage: {id}',
  'page.saved': 'Gespeichert.',

  // fields
  'field.login': 'E-Mail-Adresse oder Benutzername',
  'field.username': 'Benutzername',
  'field.email': 'E-Mail-Adresse',
  'field.password': 'Passwort',
  'field.new-password': 'Neues Passwort',
  'field.current-password': 'Aktuelles Passwort',
  'field.code': 'Code',

  // refusals of a field, by code: the field is the subject
  'refusal.required': 'fehlt',
  'refusal.unknown': 'ist nicht bekannt',
  'refusal.type': 'hat den falschen Typ',
  'refusal.format': 'hat nicht die richtige Form',
  'refusal.too_short': 'ist zu kurz',
  'refusal.too_long': 'ist zu lang',
  'refusal.taken': 'ist vergeben',

  // errors, by code; a code without a text is shown as the API shows it
  'error.invalid_credentials': 'Die Anmeldung oder das Passwort ist falsch.',
  'error.origin_untrusted':
    'Das Formular kam von einer anderen Website. Es wurde nichts geändert. Prüfen Sie Ihre Eingaben und senden Sie sie von hier.',
  'error.rate_limited': 'Zu viele Versuche. Bitte warten Sie einen Moment.',
  'error.unavailable': 'Der Dienst ist zurzeit nicht erreichbar. Bitte versuchen Sie es gleich noch einmal.',

  // login
  'login.title': 'Anmelden',
  'login.remember': 'Angemeldet bleiben',
  'login.submit': 'Anmelden',
  'login.forgot': 'Passwort vergessen?',
  'login.register': 'Konto anlegen',

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
}
