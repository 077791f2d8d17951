import { once } from 'node:events'
import net from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../../src/platform/lib/clock.ts'
import { startDeadline, withDeadline } from '../../../src/platform/lib/deadline.ts'

/** Both ends of a connection over loopback. */
async function connected() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[net.Socket], unknown]
  onTestFinished(() => {
    near.destroy()
    far.destroy()
    server.close()
  })
  return { near, far }
}

function keepBusy(ms: number): void {
  for (const until = systemClock.steady() + ms; systemClock.steady() < until; );
}

it('an answer that arrived while the process was busy is read before the deadline counts', async () => {
  const { near, far } = await connected()
  for (const busyMs of [30, 300]) {
    const answer = withDeadline(once(near, 'data'), 10)
    far.write('answer')
    await new Promise((resolve) => process.nextTick(resolve))
    keepBusy(busyMs)
    expect(String((await answer)[0])).toBe('answer')
  }
})

it('an answer that does not come in time is an error, and a deadline that was ended is none', async () => {
  await expect(withDeadline(new Promise(() => {}), 5)).rejects.toThrow('no answer within 5 ms: timed out')
  let late = 0
  const end = startDeadline(1, () => late++)
  // its timer has run, and its check has not
  setTimeout(end, 1)
  keepBusy(5)
  await new Promise((resolve) => setTimeout(() => setImmediate(resolve), 5))
  expect(late).toBe(0)
})
