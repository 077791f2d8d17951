/** The child process that hashes passwords: see hasher.ts. */
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

/**
 * bcrypt reads only the first 72 bytes. The key of bcrypt ends at a NUL and repeats, so that `a` and `a\0a` would match: passwords with a
 * NUL never match.
 */
const verifyBcrypt = async (hash: string, password: string) => (await bcrypt.compare(password, hash)) && !password.includes('\0')

// before the first hashing thread starts: on Linux each thread inherits the priority
try {
  setPriority(constants.priority.PRIORITY_LOW)
} catch {
  // without the permission it hashes at the normal priority
}
createIpcChannel(process, answers)
// a terminal signals the whole process group; the parent process decides when this process ends
process.on('SIGINT', () => {}).on('SIGTERM', () => {})
process.on('disconnect', () => process.exit(0))
