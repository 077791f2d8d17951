/** The process that hashes: see hasher.ts. */
import { constants, setPriority } from 'node:os'
import argon2 from 'argon2'
import bcrypt from 'bcryptjs'
import { createIpcChannel } from '../../platform/lib/ipc-channel.ts'
import { isBcrypt } from './password-hashes.ts'

export type HasherAnswers = {
  hash(job: { password: string; memoryKiB: number; passes: number }): Promise<string>
  verify(job: { hash: string; password: string }): Promise<boolean>
}

const answers: HasherAnswers = {
  hash: ({ password, memoryKiB, passes }) =>
    argon2.hash(password, { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: 1 }),
  verify: ({ hash, password }) => (isBcrypt(hash) ? verifyBcrypt(hash, password) : argon2.verify(hash, password)),
}

/** Of more than 72 bytes it reads the first, as bcrypt does. It knows no NUL: its key ends there, and repeats, so that `a` and `a\0a` are one. */
const verifyBcrypt = async (hash: string, password: string) => (await bcrypt.compare(password, hash)) && !password.includes('\0')

// before the first thread that hashes is started: on Linux each inherits it
try {
  setPriority(constants.priority.PRIORITY_LOW)
} catch {
  // where that is not allowed it hashes all the same
}
createIpcChannel(process, answers)
// a terminal tells the whole group; whoever asked for hashes says when it is over
process.on('SIGINT', () => {}).on('SIGTERM', () => {})
process.on('disconnect', () => process.exit(0))
