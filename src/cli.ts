#!/usr/bin/env node
import { run } from './commands/run.ts'

const exitCode = await run(process.argv.slice(2), process)
if (exitCode !== null) process.exit(exitCode)
