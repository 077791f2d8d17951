#!/usr/bin/env node
import { keepCompiledCode } from './platform/lib/compile-cache.ts'

keepCompiledCode()
const { run } = await import('./commands/run.ts')
const exitCode = await run(process.argv.slice(2), process)
if (exitCode !== null) process.exit(exitCode)
