/** The authenticators of Chromium itself (WebAuthn L3 §11), for the tabs of a visit. */
import type { CDPSession, Page } from 'playwright-core'

export interface VirtualOptions {
  protocol?: 'ctap2_0' | 'ctap2_1'
  /** Of the device itself, or one that is plugged in. */
  transport?: 'internal' | 'usb'
  hasResidentKey?: boolean
  /** It can check who its user is. */
  hasUserVerification?: boolean
  /** The check succeeds. */
  isUserVerified?: boolean
  /** Its keys may be copied. */
  isSynced?: boolean
  /** The user touches it at once. */
  isPresent?: boolean
}

export interface VirtualAuthenticator {
  credentials(): Promise<{ credentialId: string; signCount: number; isResidentCredential: boolean; userHandle?: string }[]>
  set(change: Pick<VirtualOptions, 'isUserVerified' | 'isPresent'>): Promise<void>
  remove(): Promise<void>
}

const sessions = new WeakMap<Page, Promise<CDPSession>>()

async function sessionOf(page: Page): Promise<CDPSession> {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('WebAuthn.enable', { enableUI: false })
  return cdp
}

export async function addAuthenticator(page: Page, options: VirtualOptions = {}): Promise<VirtualAuthenticator> {
  const { protocol = 'ctap2_1', transport = 'internal', hasResidentKey = true, hasUserVerification = true } = options
  const { isUserVerified = true, isSynced = false, isPresent = true } = options
  const known = sessions.get(page) ?? sessionOf(page)
  sessions.set(page, known)
  const cdp = await known
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      ctap2Version: protocol,
      transport,
      hasResidentKey,
      hasUserVerification,
      isUserVerified,
      automaticPresenceSimulation: isPresent,
      defaultBackupEligibility: isSynced,
      defaultBackupState: isSynced,
    },
  })
  return {
    credentials: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    async set({ isUserVerified, isPresent }) {
      if (isUserVerified !== undefined) await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })
      if (isPresent !== undefined) await cdp.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled: isPresent })
    },
    remove: async () => void (await cdp.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId })),
  }
}
