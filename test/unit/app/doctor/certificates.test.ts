import { expect, it } from 'vitest'
import { certificateRows } from '../../../../src/app/doctor/certificates.ts'
import { configWith } from '../../../support/config.ts'

it('a certificate of an ACME server is in the database: the row does not judge it, and says where to look', () => {
  const config = configWith({
    server: { publicUrl: 'https://api.example.com', tls: { acme: { domains: ['api.example.com'], termsOfServiceAgreed: true } } },
  })
  expect(certificateRows(config, { now: () => 0 })).toEqual([
    {
      check: 'certificate server.tls.acme',
      state: 'not checked',
      found: 'api.example.com: an ACME server issues it, and the database holds it',
      advice: '/readyz?verbose of the gateway says whether it is there',
    },
  ])
})
