import { resolve } from 'node:path'
import { defineConfig } from 'vitest/config'

/** A project is a folder below test/. All projects but `unit` share one Postgres and one Redis: test/support/global-setup.ts. */
const project = (name: string, options: { globalSetup?: string[] } = {}) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], ...options },
})
const globalSetup = ['test/support/global-setup.ts']

export default defineConfig({
  test: {
    projects: [
      project('unit'),
      project('integration', { globalSetup }),
      project('security', { globalSetup }),
      project('faults', { globalSetup }),
      // not part of `npm test`: it needs a browser
      project('browser', { globalSetup }),
    ],
    pool: 'forks',
    maxWorkers: 2,
    // a worker loads the product once, not once per file: a test file must undo its changes to the process
    isolate: false,
    // for the processes that tests start
    env: { NODE_COMPILE_CACHE: resolve('node_modules/.cache/node') },
    // a test that hangs fails; no test waits for time to pass
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: process.env.CI ? ['default', ['junit', { outputFile: process.env.JUNIT_FILE ?? 'reports/junit.xml' }]] : ['default'],
    coverage: {
      provider: 'v8',
      include: ['src/**'],
      reporter: ['text', 'json-summary', 'html'],
      reportsDirectory: 'reports/coverage',
      thresholds: {
        'src/identity/**': { lines: 95 },
        'src/proxy/**': { lines: 95 },
      },
    },
  },
})
