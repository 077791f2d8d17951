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
  'console.name': 'Konsole',
  'console.navigation': 'Bereiche der Konsole',
  'console.users': 'Benutzer',
  'console.next': 'Nächste Seite',
  'console.error': 'Das hat nicht geklappt',
  'console.refused': 'Die Konsole ist hier nicht erreichbar',
  'console.refused-host':
    'Die Konsole antwortet nicht unter diesem Hostnamen. Ein Betreiber kann ihn in auth.browser.consoleHosts aufnehmen.',
  'console.refused-transport':
    'Die Konsole antwortet nur über https oder einem Browser auf dem Rechner des Gateways. Öffnen Sie sie über https oder durch einen Tunnel wie ssh -L.',
  'console.forbidden': 'Dieses Konto ist kein Administrator',
  'console.forbidden-why': '{name} hat nicht die Rolle admin. Melden Sie sich ab, und melden Sie sich als Administrator an.',
  'console.must-change': 'Ändern Sie zuerst Ihr Passwort',
  'console.must-change-why':
    'Das Passwort dieses Kontos muss geändert werden, bevor es verwalten darf. Melden Sie sich danach hier neu an.',
  'console.owes-factor': 'Richten Sie zuerst einen zweiten Faktor ein',
  'console.owes-factor-why':
    'Eine Rolle dieses Kontos braucht einen zweiten Faktor. Richten Sie ihn ein, und melden Sie sich danach hier neu an.',
  'console.to-account': 'Zu Ihrem Konto',
  'console.stale':
    'Ihre letzte Anmeldung liegt für eine Änderung zu lange zurück. Ihre Eingaben sind noch da: Melden Sie sich in einem anderen Tab neu an, und senden Sie das Formular dann noch einmal.',
  'console.stale-login': 'Neu anmelden',

  // console: health, routes, errors, configuration
}
