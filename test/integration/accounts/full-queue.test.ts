import { expect, it } from 'vitest'
import { call, newUser } from '../../support/client.ts'
import { startGateway } from '../../support/gateway.ts'

it('a login that was turned away because the password queue was full is no failed login of the account', async () => {
  const gateway = await startGateway({
    config: {
      auth: { password: { argon2: { memoryKiB: 8192, passes: 2, concurrency: 1, queue: 0 } } },
      limits: { credentials: { account: { limit: 3, windowSeconds: 3600 } } },
    },
  })
  const user = await newUser(gateway)
  const enter = () => call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  const answers = []
  for (let i = 0; i < 4; i++) answers.push(...(await Promise.all(Array.from({ length: 3 }, enter))))
  const turnedAway = answers.filter((a) => a.status === 503)
  expect(turnedAway.length).toBeGreaterThan(3)
  for (const { body, headers } of turnedAway) {
    expect(body.code).toBe('overloaded')
    expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  }
  expect((await enter()).status).toBe(200)
  await gateway.close()
})
