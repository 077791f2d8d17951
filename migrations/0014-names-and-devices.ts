import { domainToASCII } from 'node:url'
import { type Kysely, sql } from 'kysely'

const BATCH = 1000

interface Row {
  id: string
  username: string
  email: string
  email_canonical: string
  email_verified_at: Date | null
  /** An operator or an import stands for the address. */
  is_email_vouched: boolean
  created_at: Date
}

/** Domains become what IDNA makes of them (UTS 46). Usernames that were given up are held for a while. A device has several networks and tokens. */
export async function up(db: Kysely<unknown>, progress: (text: string) => void, note: (text: string) => void): Promise<void> {
  await sql`
    CREATE TABLE held_usernames (
      name_hash  bytea PRIMARY KEY,
      user_id    uuid NOT NULL,
      held_until timestamptz NOT NULL
    )`.execute(db)
  await sql`CREATE INDEX held_usernames_by_time ON held_usernames (held_until)`.execute(db)
  await sql`
    CREATE TABLE device_networks (
      device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
      network      text NOT NULL,
      last_seen_at timestamptz NOT NULL,
      PRIMARY KEY (device_id, network)
    )`.execute(db)
  await sql`
    INSERT INTO device_networks (device_id, network, last_seen_at)
    SELECT id, network, last_seen_at FROM devices WHERE network IS NOT NULL`.execute(db)
  // presented_at: null until a login has presented the token
  await sql`
    CREATE TABLE device_tokens (
      token_hash   bytea PRIMARY KEY,
      device_id    uuid NOT NULL REFERENCES devices ON DELETE CASCADE,
      created_at   timestamptz NOT NULL,
      presented_at timestamptz
    )`.execute(db)
  await sql`CREATE INDEX device_tokens_by_device ON device_tokens (device_id)`.execute(db)
  await sql`
    INSERT INTO device_tokens (token_hash, device_id, created_at, presented_at)
    SELECT token_hash, id, first_seen_at, last_seen_at FROM devices`.execute(db)
  await sql`ALTER TABLE devices DROP COLUMN token_hash`.execute(db)

  let done = 0
  for (let users = await page(db, ''); users.length; users = await page(db, users.at(-1)!.id)) {
    for (const user of users) if (canonicalOf(user.email_canonical) !== user.email_canonical) await convert(db, user, note)
    done += users.length
    progress(`${done} addresses with other letters than ASCII were read`)
  }
  await convertPending(db)
}

/** The users whose address is not ASCII, in the order of their ids. */
async function page(db: Kysely<unknown>, after: string): Promise<Row[]> {
  const from = after === '' ? sql`` : sql`AND id > ${after}::uuid`
  const { rows } = await sql<Row>`
    SELECT * FROM users
    WHERE octet_length(email_canonical) <> char_length(email_canonical) ${from} ORDER BY id LIMIT ${sql.lit(BATCH)}`.execute(db)
  return rows
}

/** Of two accounts with one address, the account that has proven the address keeps it, else the older account. */
async function convert(db: Kysely<unknown>, user: Row, note: (text: string) => void): Promise<void> {
  // an earlier row may have changed this row
  const [current] = (await sql<Row>`SELECT * FROM users WHERE id = ${user.id}`.execute(db)).rows
  if (!current || isCollided(current)) return
  const canonical = canonicalOf(current.email_canonical)
  if (canonical === current.email_canonical) return
  const [other] = (await sql<Row>`SELECT * FROM users WHERE email_canonical = ${canonical}`.execute(db)).rows
  const loser = other && (isBefore(current, other) ? other : current)
  if (loser) {
    await setCanonical(db, loser, collidedOf(loser))
    const keeper = loser === current ? other : current
    note(
      `the accounts ${keeper.username} (${keeper.id}) and ${loser.username} (${loser.id}) have the same e-mail address: ` +
        `${keeper.username} keeps it, ${loser.username} logs in by username and needs another address`,
    )
  }
  if (loser !== current) await setCanonical(db, current, canonical)
}

const isBefore = (a: Row, b: Row): boolean => {
  const isProven = ({ email_verified_at, is_email_vouched }: Row) => email_verified_at !== null || is_email_vouched
  if (isProven(a) !== isProven(b)) return isProven(a)
  const older = a.created_at.getTime() - b.created_at.getTime()
  return older === 0 ? a.id < b.id : older < 0
}

/** No address contains a colon, so no login by e-mail address finds such an account. */
const PREFIX = 'collision:'
const collidedOf = ({ id, email }: Row) => `${PREFIX}${id}:${earlierOf(email)}`
const isCollided = ({ email_canonical }: Row) => email_canonical.startsWith(PREFIX)

const setCanonical = (db: Kysely<unknown>, { id }: Row, canonical: string) =>
  sql`UPDATE users SET email_canonical = ${canonical} WHERE id = ${id}`.execute(db)

async function convertPending(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{ id: string; email_canonical: string }>`
    SELECT id, email_canonical FROM pending_registrations
    WHERE octet_length(email_canonical) <> char_length(email_canonical)`.execute(db)
  for (const { id, email_canonical } of rows)
    await sql`UPDATE pending_registrations SET email_canonical = ${canonicalOf(email_canonical)} WHERE id = ${id}`.execute(db)
}

function canonicalOf(earlier: string): string {
  const at = earlier.lastIndexOf('@')
  const domain = earlier.slice(at + 1)
  if (/[\s\p{Cc}@"(),:;<>[\]\\/?#%]/u.test(domain)) return earlier
  const ascii = domainToASCII(domain)
  return ascii === '' || /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/.test(ascii) ? earlier : `${earlier.slice(0, at)}@${ascii}`
}

/** The canonical form before this step. */
const earlierOf = (email: string) => email.normalize('NFC').toLowerCase()

/** An account without its address gets its own form back, unless another account has this form now. */
export async function down(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<Row>`
    SELECT * FROM users WHERE octet_length(email) <> char_length(email) OR email_canonical LIKE 'collision:%'
    ORDER BY email_canonical LIKE 'collision:%', id`.execute(db)
  for (const user of rows) {
    const earlier = earlierOf(user.email)
    await sql`
      UPDATE users SET email_canonical = ${earlier} WHERE id = ${user.id} AND email_canonical <> ${earlier}
        AND NOT EXISTS (SELECT 1 FROM users WHERE email_canonical = ${earlier})`.execute(db)
  }
  const pending = await sql<{ id: string; email: string }>`
    SELECT id, email FROM pending_registrations WHERE octet_length(email) <> char_length(email)`.execute(db)
  for (const { id, email } of pending.rows)
    await sql`UPDATE pending_registrations SET email_canonical = ${earlierOf(email)} WHERE id = ${id}`.execute(db)
  await sql`ALTER TABLE devices ADD COLUMN token_hash bytea`.execute(db)
  await sql`
    UPDATE devices d SET token_hash = t.token_hash FROM (
      SELECT DISTINCT ON (device_id) device_id, token_hash FROM device_tokens
      ORDER BY device_id, presented_at DESC NULLS LAST, created_at DESC
    ) t WHERE t.device_id = d.id`.execute(db)
  await sql`DELETE FROM devices WHERE token_hash IS NULL`.execute(db)
  await sql`ALTER TABLE devices ALTER COLUMN token_hash SET NOT NULL, ADD UNIQUE (token_hash)`.execute(db)
  await sql`DROP TABLE device_tokens, device_networks`.execute(db)
  await sql`DROP TABLE held_usernames`.execute(db)
}
