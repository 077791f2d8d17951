import { expect, it } from 'vitest'
import { describeDatabase } from '../../../src/platform/db/describe-database.ts'

const named = (url: string) => describeDatabase({ url, dataDir: './data', poolSize: 1 })

it.each([
  ['embedded', 'embedded in ./data'],
  ['postgres://gate:s3cr3t@db.example.com/portcullis', 'portcullis on db.example.com:5432'],
  ['postgresql://gate:s3cr3t@db.example.com:6543/portcullis?sslmode=disable', 'portcullis on db.example.com:6543'],
  ['postgres://db/portcullis?user=gate&password=s3cr3t', 'portcullis on db:5432'],
  ['postgres://gate:s3cr3t@/portcullis?host=/run/postgresql', 'portcullis on /run/postgresql:5432'],
  ['postgres://gate:s3cr3t-@s3cr3t@db/portcullis', 'portcullis on db:5432'],
  ['postgres://gate:s3cr3t@db1:5432,db2:6432/portcullis', 'portcullis on db1:5432, db2:6432'],
  ['postgres://gate:s3cr3t@/portcullis?host=db1,db2&port=5433', 'portcullis on db1:5433, db2:5433'],
])('%s', (url, name) => {
  expect(named(url)).toBe(name)
})

it.each([
  'postgres://gate:12/s3cr3t@db/portcullis',
  'postgres://gate:12?s3cr3t@db/portcullis',
  'postgres://gate@corp:12/s3cr3t@db/portcullis',
  'postgres://gate:12#s3cr3t@db/portcullis',
  'postgres://gate:s3/cr3t@db/portcullis',
  'postgres://db/portcullis?password=s3@cr3t',
])('shows no part of a password that is not percent-encoded: %s', (url) => {
  expect(named(url)).toBe('Postgres')
})
