/** A certificate is used only with its own key and for the names that were ordered. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { AcmeFailure } from './acme-client.ts'
import type { Ordered } from './order.ts'
import type { Validity } from './renewal.ts'

/** @param now milliseconds since the epoch @throws AcmeFailure when it must not be used */
export function readOrdered({ chain, key }: Ordered, domains: readonly string[], now: number): Validity {
  const unusable = (what: string) => new AcmeFailure('unusable', `the ACME server sent a certificate that cannot be used: ${what}`)
  let leaf: X509Certificate
  try {
    leaf = new X509Certificate(chain)
    createSecureContext({ cert: chain, key })
  } catch (error) {
    throw unusable((error as Error).message)
  }
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw unusable('it is for another key')
  const names = namesIn(leaf)
  if (names.join() !== [...domains].sort().join()) throw unusable(`it is for ${names.join(', ').slice(0, 300) || 'no name'}`)
  const validity = { notBefore: new Date(leaf.validFrom), notAfter: new Date(leaf.validTo) }
  if (validity.notAfter.getTime() <= now) throw unusable('it has expired')
  return validity
}

/** Every entry of the alternative names, so that an address or a further name is noticed. */
const namesIn = ({ subjectAltName = '' }: X509Certificate): string[] =>
  subjectAltName
    .split(', ')
    .map((entry) => (entry.startsWith('DNS:') ? entry.slice(4).toLowerCase() : entry))
    .sort()
