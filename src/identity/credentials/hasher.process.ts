/** The child process that hashes passwords: see hasher.ts. */
import { constants, setPriority } from 'node:os'
import argon2 from 'argon2'
import { createIpcChannel } from '../../platform/lib/ipc-channel.ts'
import { verifyHash } from './verify-hash.ts'

export type HasherAnswers = {
  hash(job: { password: string; memoryKiB: number; passes: number }): Promise<string>
  verify(job: { hash: string; password: string }): Promise<boolean>
}

const answers: HasherAnswers = {
  hash: ({ password, memoryKiB, passes }) =>
    argon2.hash(password, { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: 1 }),
  verify: ({ hash, password }) => verifyHash(hash, password),
}

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
