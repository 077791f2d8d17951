import { type Kysely, sql } from 'kysely'

/** The step that a program must know to work with this schema: see src/platform/db/migrate.ts. The table has one row. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    CREATE TABLE schema_minimum (
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      step     text NOT NULL
    )`.execute(db)
  await sql`INSERT INTO schema_minimum (step) VALUES ('0019-schema-minimum')`.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TABLE schema_minimum`.execute(db)
}
