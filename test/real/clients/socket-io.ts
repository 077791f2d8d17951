/** socket.io-client: by polling, by WebSocket, and by the upgrade from one to the other. */
import { once } from 'node:events'
import { createRequire } from 'node:module'

const [, ...bases] = process.argv.slice(2)
const { io } = createRequire(`${process.env.CACHE}/npm/package.json`)('socket.io-client') as any

for (const [index, base] of bases.entries())
  for (const [name, transports] of Object.entries({ polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] })) {
    const socket = io(new URL(base).origin, { transports, reconnection: false, forceNew: true })
    const failed = once(socket, 'connect_error').then(([error]) => Promise.reject(error))
    let line: string
    try {
      await Promise.race([once(socket, 'connect'), failed])
      if (transports.length > 1 && socket.io.engine.transport.name === 'polling') await once(socket.io.engine, 'upgrade')
      const texts = ['small', 'ü'.repeat(50_000), '']
      const replies = await Promise.all(texts.map((text) => socket.timeout(10_000).emitWithAck('message', text)))
      line = `200\t\t${Buffer.from([socket.io.engine.transport.name, ...replies].join('\n')).toString('base64')}`
    } catch (error) {
      line = `error\t${Buffer.from(String(error)).toString('base64')}`
    }
    console.log(`${index}\t${name}\t${line}`)
    socket.disconnect()
  }
process.exit(0)
