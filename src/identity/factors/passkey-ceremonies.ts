/**
 * The two ceremonies of WebAuthn L3: a passkey is made (§7.1), and a passkey signs a challenge (§7.2). A challenge is stored nowhere: it is
 * derived from the token of its flow, from its purpose and from whom it is for. The token is used up by the change that needs the passkey.
 */
import { randomBytes } from 'node:crypto'
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server'
import type { Transaction } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { markUsed } from '../tokens/used-tokens.repo.ts'
import type { Passkey } from './passkeys.repo.ts'

/** The relying party, from the configuration alone. */
export interface RelyingParty {
  id: string
  name: string
  origins: readonly string[]
}

/**
 * What a challenge is for. `login`: anybody's. `factor`: the user whose password was right. `reauthenticate`, `register`: the session that
 * asked.
 */
export type Purpose = { for: 'login' } | { for: 'factor'; userId: string } | { for: 'reauthenticate' | 'register'; sessionId: string }

export interface PasskeyAnswer<C> {
  flow_token: string
  credential: C
}

/** A flow that was proven, and is not used up yet. */
export interface ProvenFlow {
  token: string
  expiresAt: Date
}

export interface Created extends ProvenFlow {
  credentialId: Buffer
  publicKey: Buffer
  signCount: number
  transports: string[]
  isBackupEligible: boolean
  isBackedUp: boolean
}

export interface Signed extends ProvenFlow {
  signCount: number
  isBackedUp: boolean
  /** RFC 8176: `hwk`, or `swk` where the key may be copied to other devices. */
  amr: readonly string[]
}

export interface Ceremonies {
  creation(
    purpose: Purpose,
    user: { handle: Buffer; name: string },
    known: readonly Passkey[],
  ): Promise<{ flow_token: string; options: PublicKeyCredentialCreationOptionsJSON }>
  /** @throws passkey_refused */
  finishCreation(purpose: Purpose, answer: PasskeyAnswer<RegistrationResponseJSON>): Promise<Created>
  /** @param known the passkeys that may sign; null: the user chooses one, and the answer says whose it is */
  request(
    purpose: Purpose,
    known: readonly Passkey[] | null,
  ): Promise<{ flow_token: string; options: PublicKeyCredentialRequestOptionsJSON }>
  /** Where no factor came before, the authenticator must have verified its user: a PIN, a fingerprint. @throws passkey_refused */
  finishRequest(
    purpose: Purpose,
    answer: PasskeyAnswer<AuthenticationResponseJSON>,
    passkey: Passkey,
    handle: Buffer | null,
  ): Promise<Signed>
  /** Only one of several calls with the same flow succeeds. @throws passkey_refused */
  useUp(trx: Transaction, flow: ProvenFlow): Promise<void>
}

export interface CeremoniesDeps {
  relyingParty: RelyingParty
  secrets: Secrets
  clock: Clock
}

const LIFE_SECONDS = 300
/** COSE: EdDSA, ES256 and RS256, which together every authenticator has. */
const ALGORITHMS = [-8, -7, -257]
const HANDLE_BYTES = 32

/** Random, so that it says nothing about the user (WebAuthn L3 §14.6.1). */
export const newPasskeyHandle = (): Buffer => randomBytes(HANDLE_BYTES)

/** When it ends, in seconds; and random bits. */
const TOKEN = /^(\d{10})\.[A-Za-z0-9_-]{43}$/

export const passkeyRefused = (cause: unknown): Problem => problem('passkey_refused', { cause })

export function createCeremonies({ relyingParty, secrets, clock }: CeremoniesDeps): Ceremonies {
  // only where passkeys are enabled: it would take a fifth of the time of a start
  const library = Promise.all([import('@simplewebauthn/server'), import('@simplewebauthn/server/helpers')]).then(
    ([server, { decodeAttestationObject }]) => ({ ...server, decodeAttestationObject }),
  )
  const origins = [...relyingParty.origins]

  const derived = (purpose: Purpose, token: string): Buffer[] =>
    secrets.deriveAll(`passkey ${purpose.for}`, Buffer.from(JSON.stringify([token, holderOf(purpose)])))

  function begin(purpose: Purpose) {
    const token = `${Math.floor(clock.now() / 1000) + LIFE_SECONDS}.${randomBytes(32).toString('base64url')}`
    return { flow_token: token, challenge: new Uint8Array(derived(purpose, token)[0]!) }
  }

  /** @throws passkey_refused */
  function open(purpose: Purpose, token: string) {
    const [, end] = TOKEN.exec(token) ?? []
    const expiresAt = new Date(Number(end ?? 0) * 1000)
    if (expiresAt.getTime() <= clock.now()) throw passkeyRefused('the challenge has expired')
    const challenges = derived(purpose, token).map((bytes) => bytes.toString('base64url'))
    return { flow: { token, expiresAt }, expectedChallenge: (challenge: string) => challenges.includes(challenge) }
  }

  return {
    async creation(purpose, { handle, name }, known) {
      const { flow_token, challenge } = begin(purpose)
      const { generateRegistrationOptions } = await library
      const options = await generateRegistrationOptions({
        rpID: relyingParty.id,
        rpName: relyingParty.name,
        userID: new Uint8Array(handle),
        userName: name,
        userDisplayName: name,
        challenge,
        timeout: LIFE_SECONDS * 1000,
        attestationType: 'none',
        excludeCredentials: known.map(descriptorOf),
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        supportedAlgorithmIDs: ALGORITHMS,
      })
      return { flow_token, options }
    },

    async finishCreation(purpose, { flow_token, credential }) {
      const { flow, expectedChallenge } = open(purpose, flow_token)
      const { decodeAttestationObject, verifyRegistrationResponse } = await library
      refuseAttestation(() => decodeAttestationObject(new Uint8Array(Buffer.from(credential.response.attestationObject, 'base64url'))))
      const { registrationInfo } = await verifyRegistrationResponse({
        response: credential,
        expectedChallenge,
        expectedOrigin: origins,
        expectedRPID: relyingParty.id,
        requireUserVerification: true,
        supportedAlgorithmIDs: ALGORITHMS,
      }).catch(refuse)
      if (!registrationInfo) throw passkeyRefused('the attestation is not valid')
      refuseFrames(credential.response)
      const made = registrationInfo.credential
      if (made.id !== credential.id) throw passkeyRefused('the answer names another passkey than its attestation')
      if (Buffer.byteLength(made.id, 'base64url') > MAX_ID_BYTES || made.publicKey.length > MAX_KEY_BYTES)
        throw passkeyRefused('the passkey or its id is too large')
      return {
        ...flow,
        credentialId: Buffer.from(made.id, 'base64url'),
        publicKey: Buffer.from(made.publicKey),
        signCount: made.counter,
        transports: (made.transports ?? []).filter((transport) => TRANSPORT.test(transport)).slice(0, MAX_TRANSPORTS),
        isBackupEligible: registrationInfo.credentialDeviceType === 'multiDevice',
        isBackedUp: registrationInfo.credentialBackedUp,
      }
    },

    async request(purpose, known) {
      const { flow_token, challenge } = begin(purpose)
      const { generateAuthenticationOptions } = await library
      const options = await generateAuthenticationOptions({
        rpID: relyingParty.id,
        challenge,
        timeout: LIFE_SECONDS * 1000,
        userVerification: purpose.for === 'factor' ? 'preferred' : 'required',
        ...(known && { allowCredentials: known.map(descriptorOf) }),
      })
      return { flow_token, options }
    },

    async finishRequest(purpose, { flow_token, credential }, passkey, handle) {
      const { flow, expectedChallenge } = open(purpose, flow_token)
      // a user who chose among all passkeys is named by the answer: it must name the owner of the key (§7.2, step 6)
      const named = credential.response?.userHandle
      if (named === undefined ? purpose.for === 'login' : named !== handle?.toString('base64url'))
        throw passkeyRefused('the answer names another user')
      if (passkey.rp_id !== relyingParty.id) throw passkeyRefused(`the passkey belongs to ${passkey.rp_id}`)
      const { verifyAuthenticationResponse } = await library
      const { verified, authenticationInfo: info } = await verifyAuthenticationResponse({
        response: credential,
        expectedChallenge,
        expectedOrigin: origins,
        expectedRPID: relyingParty.id,
        requireUserVerification: purpose.for !== 'factor',
        // the count is compared under the lock of the user, where a parallel login is seen
        credential: { id: credential.id, publicKey: new Uint8Array(passkey.public_key), counter: 0 },
      }).catch(refuse)
      if (!verified) throw passkeyRefused('the signature is not valid')
      refuseFrames(credential.response)
      if ((info.credentialDeviceType === 'multiDevice') !== passkey.is_backup_eligible)
        throw passkeyRefused('the flag BE has changed, which it never may')
      return { ...flow, signCount: info.newCounter, isBackedUp: info.credentialBackedUp, amr: amrOfPasskey(passkey) }
    },

    async useUp(trx, { token, expiresAt }) {
      if (!(await markUsed(trx, 'passkey', token, expiresAt))) throw passkeyRefused('the challenge was used before')
    },
  }
}

/** WebAuthn L3 §4: a credential id. */
const MAX_ID_BYTES = 1023
/** An RSA key of 4096 bits has 540 bytes. */
const MAX_KEY_BYTES = 1100
const TRANSPORT = /^[a-z-]{1,32}$/
const MAX_TRANSPORTS = 8

export const amrOfPasskey = ({ is_backup_eligible }: Pick<Passkey, 'is_backup_eligible'>): readonly string[] => [
  is_backup_eligible ? 'swk' : 'hwk',
  'user',
]

const holderOf = (purpose: Purpose): string => ('sessionId' in purpose ? purpose.sessionId : 'userId' in purpose ? purpose.userId : '')

const descriptorOf = ({ credential_id, transports }: Passkey) => ({ id: credential_id.toString('base64url'), transports })

/**
 * No attestation is asked for, and browsers then send `none`, or the signature of the key itself. The library checks certificates of other
 * formats with lists that it would get from the network.
 */
function refuseAttestation(decode: () => { get(key: 'fmt'): string }): void {
  let format: string
  try {
    format = decode().get('fmt')
  } catch (error) {
    refuse(error)
  }
  if (format !== 'none' && format !== 'packed') throw passkeyRefused('the attestation has another format than none')
}

/** No page of a relying party expects its passkeys in the frame of another site (§7.1 step 10, §7.2 step 13). The library has read the JSON. */
function refuseFrames({ clientDataJSON }: { clientDataJSON: string }): void {
  const data = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString()) as { crossOrigin?: unknown; topOrigin?: unknown }
  if (data.crossOrigin === true || data.topOrigin !== undefined) throw passkeyRefused('the page stood in a frame of another site')
}

/** The library throws an Error for everything that is wrong with an answer. */
function refuse(error: unknown): never {
  throw passkeyRefused(error instanceof Error ? error.message : error)
}
