import { environmentOf, FAKETIME } from '../../support/faketime.ts'
import { until } from '../../support/processes.ts'
import { claimsOf } from '../../support/session.ts'
import { codeOf } from '../../support/totp.ts'
import { endAll } from '../harness/cleanup.ts'
import { createTally, type FaultRow, skipped, type Tally } from '../harness/fault-row.ts'
import type { FaultGateway } from '../harness/gateways.ts'
import { ask, jsonOf } from '../harness/http.ts'
import { newSessionClient } from '../harness/session-client.ts'
import { checkGateways, resultOf, startSetting } from '../harness/setting.ts'

const SKEWS: [name: string, offset: string, isReported: boolean][] = [
  ['30 s ahead', '+30s', false],
  ['5 min ahead', '+300s', true],
  ['5 min behind', '-300s', true],
  ['1 h behind', '-3600s', true],
  ['1 day ahead', '+86400s', true],
]
/** Tokens say when they were issued in whole seconds. */
const SLACK_SECONDS = 5

export const row: FaultRow = {
  id: 'P6',
  fault: 'the clock of one of two gateways is wrong: ± 5 min, 1 h behind, 1 day ahead',
  promise: "tokens follow the database's time at both gateways, no logout is lost, and the skew is reported",
  async run({ short }) {
    if (FAKETIME === null) return skipped('the Debian package libfaketime is not installed')
    const tally = createTally()
    const begun = performance.now()
    for (const skew of short ? SKEWS.slice(1, 3) : SKEWS) {
      await trySkew(skew, tally)
      tally.broken.push(...(await endAll()))
    }
    return resultOf(`2 gateways, one with libfaketime; ${Math.round((performance.now() - begun) / 1000)} s`, [], tally)
  },
}

async function trySkew([name, offset, isReported]: (typeof SKEWS)[number], tally: Tally): Promise<void> {
  const env = environmentOf(offset)
  const { gateways } = await startSetting({ workers: 1, each: (i) => (i === 0 ? { env } : {}) })
  const [wrong, right] = gateways as [FaultGateway, FaultGateway]
  const promise = (isKept: boolean, text: string) => tally.promise(isKept, `${name}: ${text}`)
  const pairs: [FaultGateway, FaultGateway][] = [
    [wrong, right],
    [right, wrong],
  ]
  for (const [issuer, other] of pairs) {
    const client = await newSessionClient(issuer.url)
    const { iat, exp } = claimsOf(client.accessToken())
    promise(
      Math.abs(iat - Date.now() / 1000) <= SLACK_SECONDS,
      `a token of ${issuer.name} was issued ${Math.round(iat - Date.now() / 1000)} s from now`,
    )
    promise(exp - iat <= 900, `a token lasts ${exp - iat} s`)
    for (const { url } of [issuer, other]) {
      const { status } = await ask(`${url}/api/x`, { token: client.accessToken() })
      promise(status === 200, `a token answers ${status}`)
    }
    promise((await client.refresh()).kind === 'rotated', 'a refresh failed')
    const token = client.accessToken()
    await ask(`${other.url}/api/x`, { token })
    promise((await client.logout()).status === 204, 'a logout failed')
    await until(async () => (await ask(`${other.url}/api/x`, { token })).status === 401, `${name}: the logout at the other gateway`, 10_000)
    promise((await ask(`${issuer.url}/api/x`, { token })).status === 401, 'a token works after its logout')
    tally.add('logouts')
  }
  // a second factor is judged by the right time
  const user = await newSessionClient(wrong.url)
  const { secret } = jsonOf(await ask(`${wrong.url}/auth/mfa/totp`, { body: { password: user.password }, token: user.accessToken() }))
  const confirm = async (steps: number) =>
    (await ask(`${wrong.url}/auth/mfa/totp/confirm`, { body: { code: codeOf(secret, steps) }, token: user.accessToken() })).status
  const shifted = Math.round(Number.parseInt(offset, 10) / 30)
  if (Math.abs(shifted) > 2) promise((await confirm(shifted)) !== 200, 'a code of the wrong time is accepted')
  promise((await confirm(0)) === 200, 'a code of the right time is refused')
  const skew = await wrong.metric('portcullis_clock_skew_seconds')
  promise(Math.abs(Math.abs(skew) - Math.abs(Number.parseInt(offset, 10))) <= SLACK_SECONDS, `clock_skew_seconds is ${skew}`)
  promise(await wrong.isReady(), 'the gateway is not ready')
  const line = JSON.stringify((await wrong.checks()).filter((check) => /clock/i.test(check.name)))
  if (isReported) promise(/"ok":false/.test(line), `/readyz?verbose does not report it: ${line}`)
  tally.add(`${name}: reported as ${Math.round(skew)} s,`)
  await checkGateways(tally, gateways)
}
