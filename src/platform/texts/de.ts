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
  'refusal.not_allowed': 'ist nicht erlaubt',
  'refusal.in_past': 'muss in der Zukunft liegen',
  'refusal.too_common': 'ist zu verbreitet: Angreifer probieren es zuerst',
  'refusal.contains_name': 'muss mehr sein als Ihr Name, Ihre Adresse oder der Name dieses Dienstes',
  'refusal.breached': 'ist aus einem Datenleck bekannt: Es darf nirgends verwendet werden',
  'refusal.same_as_current': 'muss sich vom aktuellen Passwort unterscheiden',

  // errors, by code; a code without a text is shown as the API shows it
  'error.invalid_credentials': 'Die Anmeldung oder das Passwort ist falsch.',
  'error.origin_untrusted':
    'Das Formular kam von einer anderen Website. Es wurde nichts geändert. Prüfen Sie Ihre Eingaben und senden Sie sie von hier.',
  'error.rate_limited': 'Zu viele Versuche. Bitte warten Sie einen Moment.',
  'error.unavailable': 'Der Dienst ist zurzeit nicht erreichbar. Bitte versuchen Sie es gleich noch einmal.',
  'error.invalid_code': 'Der Code ist falsch oder wurde schon benutzt. Geben Sie den aktuellen Code ein.',
  'error.username_taken': 'Der Benutzername ist vergeben. Wählen Sie einen anderen.',
  'error.email_taken': 'Die E-Mail-Adresse ist vergeben. Verwenden Sie eine andere.',
  'error.reauthentication_required': 'Bitte zeigen Sie noch einmal, dass Sie es sind.',
  'error.mfa_already_enabled': 'Ein zweiter Faktor ist schon eingerichtet.',
  'error.mfa_not_enabled': 'Die Einrichtung wurde nicht rechtzeitig beendet. Bitte beginnen Sie neu.',
  'error.last_admin':
    'Dies ist die letzte Administratorin oder der letzte Administrator. Geben Sie zuerst einem anderen Konto diese Rolle.',
  'error.limit_reached': 'Die größte Anzahl ist erreicht. Entfernen Sie zuerst einen alten Eintrag.',
  'error.not_found': 'Das gibt es nicht mehr.',
  'error.forbidden': 'Das dürfen Sie nicht.',
  'error.validation_failed': 'Bitte prüfen Sie Ihre Eingaben.',

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
  'account.title': 'Ihr Konto',
  'account.overview': 'Übersicht',
  'account.greeting': 'Angemeldet als {name}',
  'account.since': 'Konto seit',
  'account.last-login': 'Letzte Anmeldung:',
  'account.save': 'Speichern',
  'account.copy': 'Kopieren',
  'account.copied': 'Kopiert',
  'account.print': 'Drucken',
  'account.download': 'Herunterladen',
  'account.proof': 'Ihre Anmeldung liegt einige Zeit zurück. Bitte zeigen Sie noch einmal, dass Sie es sind.',
  'account.wrong-password': 'Das Passwort ist falsch.',
  'account.code-hint': 'Aus Ihrer Authenticator-App oder einer Ihrer Ersatzcodes.',
  'account.profile.title': 'Profil',
  'account.username-hint': '3 bis 32 Zeichen: Buchstaben a bis z, Ziffern, Punkt, Bindestrich und Unterstrich.',
  'account.username-saved': 'Ihr Benutzername ist gespeichert.',
  'account.email.proven': 'Bestätigt',
  'account.email.unproven': 'Nicht bestätigt',
  'account.email.prove': 'Öffnen Sie den Link in unserer E-Mail, um zu bestätigen, dass diese Adresse Ihnen gehört.',
  'account.email.resend': 'Neuen Link senden',
  'account.email.resent': 'Wenn wir an diese Adresse schreiben können, ist ein neuer Link unterwegs.',
  'account.email.waiting': 'Neue Adresse: {email}. Sie gilt, sobald Sie den Link öffnen, der dorthin gesendet wurde.',
  'account.email.change': 'Adresse ändern',
  'account.email.new': 'Neue E-Mail-Adresse',
  'account.email.hint': 'Die neue Adresse gilt sofort. Wir senden einen Link, mit dem Sie sie bestätigen.',
  'account.email.hint-required': 'Wir senden einen Link an die neue Adresse. Sie gilt, sobald Sie den Link öffnen.',
  'account.email.submit': 'Adresse ändern',
  'account.email.saved': 'Ihre E-Mail-Adresse ist gespeichert.',
  'account.email.asked': 'Öffnen Sie den Link, der an die neue Adresse gesendet wurde. Bis dahin gilt Ihre alte Adresse.',
  'account.password.title': 'Passwort',
  'account.password.must': 'Bitte wählen Sie ein neues Passwort, bevor Sie fortfahren.',
  'account.password.intro': 'Ein neues Passwort meldet alle Ihre anderen Geräte ab.',
  'account.password.hint': 'Mindestens {count} Zeichen. Ein Satz, den nur Sie kennen, ist eine gute Wahl.',
  'account.password.submit': 'Passwort ändern',
  'account.password.changed': 'Ihr Passwort ist geändert. Alle anderen Geräte sind abgemeldet.',

  // account: factors
  'account.factors.title': 'Zweistufige Anmeldung',
  'account.factors.on': 'Eingeschaltet',
  'account.factors.off': 'Ausgeschaltet',
  'account.factors.advice': 'Eine App auf Ihrem Telefon schützt Ihr Konto besser als ein Passwort allein.',
  'account.factors.left': 'Übrige Ersatzcodes: {count}.',
  'account.factors.few': 'Erstellen Sie neue Codes, bevor sie ausgehen.',
  'account.factors.required': 'Ihr Konto braucht eine zweistufige Anmeldung, bevor Sie fortfahren können.',
  'account.factors.intro':
    'Nach Ihrem Passwort fragen wir nach einem Code aus einer Authenticator-App. Jede solche App ist geeignet. Geben Sie zuerst Ihr Passwort ein.',
  'account.factors.begin': 'App einrichten',
  'account.factors.scan': 'Scannen Sie dieses Bild mit Ihrer Authenticator-App.',
  'account.factors.qr': 'QR-Code für Ihre Authenticator-App',
  'account.factors.by-hand': 'Ich kann das Bild nicht scannen',
  'account.factors.secret': 'Geben Sie diesen Schlüssel in der App ein:',
  'account.factors.secret-hint': 'Art: zeitbasiert. Stellen: 6. Leerzeichen sind unwichtig.',
  'account.factors.open-app': 'App auf diesem Gerät öffnen',
  'account.factors.type-code': 'Geben Sie den Code ein, den die App jetzt anzeigt.',
  'account.factors.code-hint': '6 Ziffern. Richten Sie die App innerhalb von 15 Minuten ein.',
  'account.factors.confirm': 'Bestätigen',
  'account.factors.cancel': 'Abbrechen',
  'account.factors.is-on': 'Ihre Anmeldung fragt nach einem Code aus Ihrer Authenticator-App.',
  'account.factors.now-on': 'Die zweistufige Anmeldung ist eingeschaltet. Alle anderen Geräte sind abgemeldet.',
  'account.factors.remove': 'Zweistufige Anmeldung ausschalten',
  'account.factors.remove-means':
    'Ihr Passwort allein genügt dann zur Anmeldung. Ihre Ersatzcodes werden ungültig, und alle anderen Geräte werden abgemeldet.',
  'account.factors.now-off': 'Die zweistufige Anmeldung ist ausgeschaltet.',
  'account.codes.title': 'Ersatzcodes',
  'account.codes.intro':
    'Wenn Sie Ihr Telefon verlieren, meldet Sie jeder dieser Codes einmal an Stelle der App an. Bewahren Sie sie sicher auf.',
  'account.codes.once': 'Die Codes werden nur jetzt angezeigt.',
  'account.codes.file': 'ersatzcodes.txt',
  'account.codes.saved': 'Ich habe die Codes gesichert',
  'account.codes.continue': 'Ich habe die Codes gesichert: weiter',
  'account.codes.renew': 'Neue Ersatzcodes erstellen',
  'account.codes.renew-means': 'Ihre alten Ersatzcodes werden ungültig.',
  'account.codes.renewed': 'Das sind Ihre neuen Ersatzcodes. Die alten Codes sind ungültig.',

  // account: sessions
  'account.sessions.title': 'Geräte',
  'account.sessions.intro':
    'Sie sind auf diesen Geräten angemeldet. Melden Sie ein Gerät ab, das Sie nicht kennen, und ändern Sie Ihr Passwort.',
  'account.sessions.one': '1 Gerät ist angemeldet',
  'account.sessions.many': '{count} Geräte sind angemeldet',
  'account.sessions.this': 'Dieses Gerät',
  'account.sessions.mfa': 'Zweistufig angemeldet',
  'account.sessions.unknown': 'Unbekanntes Gerät',
  'account.sessions.from': 'Adresse',
  'account.sessions.since': 'Seit',
  'account.sessions.used': 'Zuletzt benutzt',
  'account.sessions.until': 'bis',
  'account.sessions.end': 'Abmelden',
  'account.sessions.ended': 'Das Gerät ist abgemeldet.',
  'account.sessions.others': 'Alle anderen Geräte abmelden',
  'account.sessions.others-ended': 'Alle anderen Geräte sind abgemeldet.',
  'account.sessions.all': 'Überall abmelden',
  'account.sessions.all-means':
    'Auch dieses Gerät wird abgemeldet. API-Schlüssel, die auf diesen Geräten erstellt wurden, werden ungültig.',

  // account: api keys
  'account.keys.title': 'API-Schlüssel',
  'account.keys.intro': 'Ein Programm mit einem API-Schlüssel handelt für Sie. Geben Sie jedem Programm einen eigenen Schlüssel.',
  'account.keys.one': '1 Schlüssel',
  'account.keys.many': '{count} Schlüssel',
  'account.keys.none': 'Sie haben keine API-Schlüssel.',
  'account.keys.new': 'Ihr neuer Schlüssel.',
  'account.keys.once': 'Kopieren Sie ihn jetzt: Er wird nicht noch einmal angezeigt.',
  'account.keys.how': 'Ein Programm sendet ihn im Header',
  'account.keys.made': 'Erstellt',
  'account.keys.used': 'Zuletzt benutzt',
  'account.keys.unused': 'Nie benutzt',
  'account.keys.until': 'Läuft ab',
  'account.keys.endless': 'Läuft nie ab',
  'account.keys.expired': 'Abgelaufen',
  'account.keys.revoke': 'Widerrufen',
  'account.keys.revoke-means': 'Programme mit diesem Schlüssel werden sofort abgewiesen. Das lässt sich nicht rückgängig machen.',
  'account.keys.revoke-now': 'Schlüssel widerrufen',
  'account.keys.revoked': 'Der Schlüssel ist widerrufen.',
  'account.keys.new-title': 'Neuer Schlüssel',
  'account.keys.name': 'Name',
  'account.keys.name-hint': 'Zum Beispiel das Programm, das ihn benutzen wird.',
  'account.keys.life': 'Gültig für',
  'account.keys.month': '30 Tage',
  'account.keys.quarter': '90 Tage',
  'account.keys.year': '1 Jahr',
  'account.keys.date': 'Bis zu einem Datum',
  'account.keys.forever': 'Unbegrenzt',
  'account.keys.on': 'Letzter Tag',
  'account.keys.access': 'Was der Schlüssel darf',
  'account.keys.all': 'Alles, was Sie dürfen',
  'account.keys.chosen': 'Nur, was hier gewählt ist',
  'account.keys.choose': 'Wählen Sie mindestens eine Rolle oder einen Scope.',
  'account.keys.roles': 'Rollen',
  'account.keys.scopes': 'Scopes',
  'account.keys.scopes-hint': 'Ohne Auswahl bekommt der Schlüssel die Scopes seiner Rollen.',
  'account.keys.create': 'Schlüssel erstellen',

  // account: delete
  'account.delete.title': 'Konto löschen',
  'account.delete.intro': 'Damit wird das Konto {name} mit allen persönlichen Daten gelöscht:',
  'account.delete.profile': 'Ihr Benutzername und Ihre E-Mail-Adresse',
  'account.delete.sessions': 'Ihre Anmeldungen auf allen Geräten',
  'account.delete.keys': 'Ihre API-Schlüssel: Programme, die sie benutzen, werden sofort abgewiesen',
  'account.delete.factors': 'Ihre Authenticator-App und Ihre Ersatzcodes',
  'account.delete.kept':
    'Ein Protokoll sicherheitsrelevanter Ereignisse bleibt, ohne Ihren Namen und Ihre Adresse. Daten, die andere Dienste über Sie haben, werden hier nicht gelöscht.',
  'account.delete.final': 'Das lässt sich nicht rückgängig machen.',
  'account.delete.confirm': 'Ja, mein Konto löschen',
  'account.delete.unconfirmed': 'Setzen Sie das Häkchen, wenn Sie Ihr Konto löschen möchten.',
  'account.delete.submit': 'Konto löschen',
  'account.delete.keep': 'Konto behalten',
  'account.deleted.title': 'Konto gelöscht',
  'account.deleted.text': 'Ihr Konto und Ihre persönlichen Daten sind gelöscht.',

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
