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
  'console.utc': 'Alle Zeiten sind UTC.',
  'console.cancel': 'Abbrechen',
  'console.save': 'Speichern',
  'console.all': 'Alle',
  'console.none': 'Keine',
  'console.never': 'Nie',
  'console.yes': 'Ja',
  'console.no': 'Nein',
  'console.pages': 'Seiten',
  'console.first': 'Erste Seite',
  'console.search': 'Suche',
  'console.order': 'Reihenfolge',
  'console.filter': 'Filtern',
  'console.filter-clear': 'Zurücksetzen',
  'console.user': 'Benutzer',
  'console.role': 'Rolle',
  'console.roles': 'Rollen',
  'console.scopes': 'Scopes',
  'console.created': 'Angelegt',
  'console.expires': 'Läuft ab',
  'console.began': 'Begonnen',
  'console.last-used': 'Zuletzt benutzt',
  'console.last-login': 'Letzte Anmeldung',
  'console.disabled-since': 'Gesperrt seit',
  'console.verified-at': 'Bestätigt',
  'console.address-vouched': 'von einem Betreiber eingetragen',
  'console.id': 'Id',
  'console.name-of': 'Name',
  'console.actions': 'Aktionen',
  'console.action': 'Aktion',
  'console.device': 'Gerät',
  'console.device-unknown': 'Unbekanntes Gerät',
  'console.address': 'Adresse',
  'console.factor': 'Zweiter Faktor',
  'console.sessions': 'Sitzungen',
  'console.session-end': 'Sitzung beenden',
  'console.api-keys': 'API-Schlüssel',
  'console.api-key-revoke': 'Schlüssel widerrufen',
  'console.at': 'Zeit',
  'console.event': 'Ereignis',
  'console.outcome': 'Ergebnis',
  'console.actor': 'Ausgeführt von',
  'console.first-password': 'Erstes Passwort',
  'console.first-password-hint':
    'Der Benutzer muss es bei der ersten Anmeldung ändern. Lassen Sie das Feld leer, um ein Passwort erzeugen zu lassen.',
  'console.roles-inherited': 'Geerbte Rollen',
  'console.roles-added': 'Weitere Rollen',
  'console.scopes-added': 'Weitere Scopes',
  'console.roles-lost': 'Wegfallende Rollen',
  'console.scopes-lost': 'Wegfallende Scopes',
  'console.role-add': 'Weitere Rolle',
  'console.role-grant': 'Rolle geben',
  'console.role-take': 'Rolle entziehen',
  'console.role-revoke': '{role} entziehen',
  'console.metadata': 'Metadaten',
  'console.metadata-of': 'Metadaten von {name}',
  'console.metadata-edit': 'Metadaten ändern',
  'console.metadata-public': 'Öffentlicher Teil',
  'console.metadata-admin': 'Teil für Administratoren',
  'console.metadata-public-hint': 'Ein JSON-Objekt. Der Benutzer kann es lesen.',
  'console.metadata-admin-hint': 'Ein JSON-Objekt. Nur Administratoren können es lesen.',
  'console.metadata-json': 'Das ist kein gültiges JSON: {reason}',
  'console.metadata-type': 'Das muss ein JSON-Objekt sein, zum Beispiel {"plan": "gold"}.',
  'console.metadata-null': 'Ein Wert darf nicht null sein. Lassen Sie den Eintrag weg, um ihn zu entfernen.',
  'console.metadata-changed':
    'Die Metadaten wurden inzwischen von jemand anderem geändert. Öffnen Sie die Seite neu, um die neuen Werte zu sehen.',
  'console.users-new': 'Neuer Benutzer',
  'console.users-create': 'Benutzer anlegen',
  'console.users-created': 'Der Benutzer wurde angelegt',
  'console.users-created-why':
    'Geben Sie {name} dieses Passwort auf einem sicheren Weg weiter. Es wird nur jetzt angezeigt und muss bei der ersten Anmeldung geändert werden.',
  'console.users-created-next': 'Ich habe es weitergegeben',
  'console.users-none': 'Kein Benutzer passt dazu.',
  'console.users-search-hint': 'Ein Teil des Benutzernamens oder der E-Mail-Adresse, oder eine Id.',
  'console.users-state': 'Zustand',
  'console.users-state-active': 'Aktiv',
  'console.users-state-disabled': 'Gesperrt',
  'console.users-address-verified': 'Bestätigt',
  'console.users-address-unverified': 'Unbestätigt',
  'console.users-factor-with': 'Eingerichtet',
  'console.users-factor-without': 'Nicht eingerichtet',
  'console.users-order-newest': 'Neueste zuerst',
  'console.users-order-oldest': 'Älteste zuerst',
  'console.users-order-email': 'Nach E-Mail-Adresse',
  'console.user-must-change': 'Muss das Passwort ändern',
  'console.user-must-confirm': 'Muss die nächste Anmeldung bestätigen',
  'console.user-events': 'Letzte Ereignisse',
  'console.user-all-events': 'Alle Ereignisse im Audit-Protokoll',
  'console.user.own': 'Das ist Ihr eigenes Konto. Sie werden abgemeldet.',
  'console.user.create-done': 'Der Benutzer wurde angelegt.',
  'console.user.unlock': 'Entsperren',
  'console.user.unlock-title': '{name} entsperren?',
  'console.user.unlock-what':
    'Die Zähler für falsche Passwörter und Codes beginnen neu. Der Benutzer muss vor der nächsten Anmeldung nicht warten.',
  'console.user.unlock-done': 'Die fehlgeschlagenen Anmeldungen wurden gelöscht.',
  'console.user.enable': 'Freigeben',
  'console.user.enable-title': '{name} freigeben?',
  'console.user.enable-what': 'Der Benutzer kann sich wieder anmelden.',
  'console.user.enable-done': 'Der Benutzer ist freigegeben.',
  'console.user.disable': 'Sperren',
  'console.user.disable-title': '{name} sperren?',
  'console.user.disable-what':
    'Alle Sitzungen enden sofort, und kein API-Schlüssel des Benutzers funktioniert mehr. Der Benutzer kann sich erst wieder anmelden, wenn das Konto freigegeben wird. Nichts wird gelöscht.',
  'console.user.disable-done': 'Der Benutzer ist gesperrt, und alle Sitzungen sind beendet.',
  'console.user.end-sessions': 'Alle Sitzungen beenden',
  'console.user.end-sessions-title': 'Alle Sitzungen von {name} beenden?',
  'console.user.end-sessions-what': 'Der Benutzer wird überall sofort abgemeldet und kann sich neu anmelden.',
  'console.user.end-sessions-done': 'Alle Sitzungen sind beendet.',
  'console.user.force-password-change': 'Neues Passwort verlangen',
  'console.user.force-password-change-title': 'Neues Passwort für {name} verlangen?',
  'console.user.force-password-change-what':
    'Alle Sitzungen enden sofort. Nach der nächsten Anmeldung kann der Benutzer nichts tun, bevor er ein neues Passwort gesetzt hat.',
  'console.user.force-password-change-done': 'Der Benutzer muss bei der nächsten Anmeldung ein neues Passwort setzen.',
  'console.user.reset-factor': 'Zweiten Faktor entfernen',
  'console.user.reset-factor-title': 'Zweiten Faktor von {name} entfernen?',
  'console.user.reset-factor-what':
    'Die Authenticator-App und die Ersatzcodes gelten nicht mehr, und alle Sitzungen enden. Der Benutzer erhält eine E-Mail und bestätigt die nächste Anmeldung über einen zugesandten Link. Vergewissern Sie sich, dass wirklich der Benutzer darum bittet.',
  'console.user.reset-factor-done': 'Der zweite Faktor wurde entfernt.',
  'console.user.delete': 'Löschen',
  'console.user.delete-title': '{name} löschen?',
  'console.user.delete-what':
    'Das Konto wird endgültig gelöscht, mit seinen persönlichen Daten, Sitzungen und API-Schlüsseln. Das lässt sich nicht rückgängig machen. Das Audit-Protokoll bleibt vollständig, ohne Namen und Adressen.',
  'console.user.delete-done': 'Der Benutzer wurde gelöscht.',
  'console.user.grant-title': '{name} die Rolle {role} geben?',
  'console.user.grant-what': 'Der Benutzer darf ab der nächsten Erneuerung seiner Sitzung mehr.',
  'console.user.grant-done': 'Die Rolle wurde gegeben.',
  'console.user.revoke-title': '{name} die Rolle {role} entziehen?',
  'console.user.revoke-what': 'Der Benutzer hat die Rolle ab sofort nicht mehr. Sitzungen laufen mit den übrigen Rollen weiter.',
  'console.user.revoke-done': 'Die Rolle wurde entzogen.',
  'console.user.end-session-title': 'Eine Sitzung von {name} beenden?',
  'console.user.end-session-what': 'Der Benutzer wird dort sofort abgemeldet.',
  'console.user.end-session-done': 'Die Sitzung ist beendet.',
  'console.user.revoke-key-title': 'Einen API-Schlüssel von {name} widerrufen?',
  'console.user.revoke-key-what':
    'Jede Anfrage mit diesem Schlüssel wird ab sofort abgelehnt. Programme, die ihn benutzen, funktionieren nicht mehr. Das lässt sich nicht rückgängig machen.',
  'console.user.revoke-key-done': 'Der API-Schlüssel wurde widerrufen.',
  'console.clients': 'Maschinen-Clients',
  'console.clients-what': 'Programme, die eigene Zugriffstoken erhalten: mit client_id und Geheimnis oder mit einer signierten Assertion.',
  'console.clients-new': 'Neuer Maschinen-Client',
  'console.clients-create': 'Client anlegen',
  'console.clients-none': 'Es gibt noch keine Maschinen-Clients.',
  'console.client-roles-hint': 'Namen von Rollen, durch Leerzeichen getrennt.',
  'console.client-scopes-hint': 'Scopes, durch Leerzeichen getrennt.',
  'console.client-jwks': 'Öffentliche Schlüssel',
  'console.client-jwks-hint': 'Ein JSON Web Key Set (RFC 7517). Lassen Sie das Feld leer für einen Client mit Geheimnis.',
  'console.client-method': 'Authentifizierung',
  'console.client-secret-of': 'Das Geheimnis von {name}',
  'console.client-secret-once': 'Speichern Sie das Geheimnis jetzt. Es wird nur auf dieser Seite angezeigt.',
  'console.secret-stored': 'Ich habe es gespeichert',
  'console.client.create-done': 'Der Maschinen-Client wurde angelegt.',
  'console.client.rotate-secret': 'Neues Geheimnis',
  'console.client.rotate-secret-title': 'Neues Geheimnis für {name} erzeugen?',
  'console.client.rotate-secret-what':
    'Das alte Geheimnis oder die öffentlichen Schlüssel gelten sofort nicht mehr, und alle Token des Clients enden. Das Programm funktioniert wieder, sobald es das neue Geheimnis hat.',
  'console.client.disable': 'Sperren',
  'console.client.disable-title': '{name} sperren?',
  'console.client.disable-what': 'Alle Token des Clients enden sofort, und er erhält keine neuen, bis er wieder freigegeben wird.',
  'console.client.disable-done': 'Der Maschinen-Client ist gesperrt.',
  'console.client.enable': 'Freigeben',
  'console.client.enable-title': '{name} freigeben?',
  'console.client.enable-what': 'Der Client kann wieder Token erhalten, mit den Zugangsdaten, die er hatte.',
  'console.client.enable-done': 'Der Maschinen-Client ist freigegeben.',
  'console.client.delete': 'Löschen',
  'console.client.delete-title': '{name} löschen?',
  'console.client.delete-what':
    'Alle Token des Clients enden sofort, und seine Zugangsdaten werden abgelehnt. Das lässt sich nicht rückgängig machen.',
  'console.client.delete-done': 'Der Maschinen-Client wurde gelöscht.',

  // console: health, routes, errors, configuration
}
