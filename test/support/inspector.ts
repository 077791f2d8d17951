/** Collects the garbage of a process through its inspector: the memory that is left is in use. */
import { once } from 'node:events'

/** @param address of the inspector: `ws://…` */
export async function collectGarbageAt(address: string): Promise<void> {
  const socket = new WebSocket(address)
  const failed = once(socket, 'error').then(() => {
    throw new Error(`no inspector at ${address}`)
  })
  await Promise.race([once(socket, 'open'), failed])
  // twice: finalizers of the first collection release objects for the second
  for (const id of [1, 2]) {
    socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }))
    await once(socket, 'message')
  }
  socket.close()
  await once(socket, 'close')
}
