import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, inject, it } from 'vitest'
import { WrongSecretKey } from '../../../src/platform/vault/secrets.ts'
import { newUser } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { createDatabase, query } from '../../support/postgres.ts'
import { me } from '../../support/session.ts'
import { rotateKey } from '../../support/signing-keys.ts'

const newKey = () => randomBytes(32).toString('base64')

describe('the secret key of a database', () => {
  let first: Gateway
  let token: string
  beforeAll(async () => {
    first = await startGateway()
    token = (await newUser(first)).token
    await rotateKey(first)
    await first.close()
  })
  const sealed = async () =>
    (
      await query<{ text: string }>(
        first.databaseUrl,
        'SELECT private_sealed AS text FROM signing_keys UNION ALL SELECT public_mac FROM signing_keys UNION ALL SELECT sealed FROM secret_canary',
      )
    ).map((r) => r.text)

  it('another one refuses to start, and changes nothing', async () => {
    const before = await sealed()
    const wrong = startGateway({ databaseUrl: first.databaseUrl, secretKey: newKey() })
    await expect(wrong).rejects.toBeInstanceOf(WrongSecretKey)
    await expect(wrong).rejects.toThrow('PORTCULLIS_SECRET_KEY is not the key that this database was set up with')
    expect(await sealed()).toEqual(before)
  })

  it('a database whose canary is lost is not taken for an empty one', async () => {
    const [canary] = await query<{ sealed: string }>(first.databaseUrl, 'DELETE FROM secret_canary RETURNING sealed')
    try {
      await expect(startGateway({ databaseUrl: first.databaseUrl, secretKey: newKey() })).rejects.toBeInstanceOf(WrongSecretKey)
    } finally {
      await query(first.databaseUrl, 'INSERT INTO secret_canary (sealed) VALUES ($1)', [canary!.sealed])
    }
  })

  it('is changed with the previous one beside it: tokens stay good, everything is sealed again, then the new one is enough', async () => {
    const secretKey = newKey()
    const before = await sealed()
    const env = { PORTCULLIS_SECRET_KEY_PREVIOUS: first.secretKey }
    const changing = await startGateway({ databaseUrl: first.databaseUrl, secretKey, env })
    expect(await me(changing, token)).toBe(200)
    await changing.close()
    const after = await sealed()
    const keyIds = (texts: string[]) => new Set(texts.map((t) => t.replace(/^v1\./, '').split('.')[0]))
    expect(after).toHaveLength(5)
    expect(keyIds(after).size).toBe(1)
    expect(keyIds(after)).not.toEqual(keyIds(before))

    const changed = await startGateway({ databaseUrl: first.databaseUrl, secretKey })
    expect(await me(changed, token)).toBe(200)
    await changed.close()
    await expect(startGateway({ databaseUrl: first.databaseUrl, secretKey: first.secretKey })).rejects.toBeInstanceOf(WrongSecretKey)
  })
})

describe('a table of signing keys that an intruder has changed', () => {
  it.each([
    ['a public key', `public_jwk = replace(public_jwk, '"x":"', '"x":"A')`, 'the public part of signing key'],
    ['an algorithm', `algorithm = 'HS256'`, 'the public part of signing key'],
  ])('refuses to start with %s changed', async (_, change, message) => {
    const gateway = await startGateway()
    await gateway.close()
    await query(gateway.databaseUrl, `UPDATE signing_keys SET ${change}`)
    const again = startGateway({ databaseUrl: gateway.databaseUrl, secretKey: gateway.secretKey })
    await expect(again).rejects.toBeInstanceOf(WrongSecretKey)
    await expect(again).rejects.toThrow(message)
  })
})

describe('two gateways that start at the same moment', () => {
  const currentKeys = (url: string) => query<{ kid: string }>(url, `SELECT kid FROM signing_keys WHERE state = 'current'`)

  it('on an empty database make its tables and one signing key', async () => {
    const server = inject('postgresUrl')
    const name = `empty_${randomBytes(6).toString('hex')}`
    await query(server, `CREATE DATABASE ${name}`)
    const shared = { databaseUrl: server.replace(/\/postgres$/, `/${name}`), secretKey: newKey() }
    const gateways = await Promise.all([startGateway(shared), startGateway(shared), startGateway(shared)])
    const [current, ...more] = await currentKeys(shared.databaseUrl)
    expect(more).toEqual([])
    for (const { app } of gateways) expect(app.identity.keyring.signing().kid).toBe(current!.kid)
    const { token } = await newUser(gateways[0])
    for (const gateway of gateways) expect(await me(gateway, token)).toBe(200)
    await Promise.all(gateways.map((g) => g.close()))
  })

  it('with two secret keys on a new database: one sets it up, the other refuses', async () => {
    const databaseUrl = await createDatabase(inject('postgresUrl'))
    const started = await Promise.allSettled([startGateway({ databaseUrl }), startGateway({ databaseUrl })])
    const [good, bad] = ['fulfilled', 'rejected'].map((status) => started.filter((s) => s.status === status))
    expect([good!.length, bad!.length]).toEqual([1, 1])
    expect((bad![0] as PromiseRejectedResult).reason).toBeInstanceOf(WrongSecretKey)
    expect(await currentKeys(databaseUrl)).toHaveLength(1)
    await (good![0] as PromiseFulfilledResult<Gateway>).value.close()
  })
})
