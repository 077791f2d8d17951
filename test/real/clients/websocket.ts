/** A WebSocket client: text, binary, long messages, a subprotocol, and a close code. */
import { once } from 'node:events'
import { WebSocket } from 'ws'

const [, ...bases] = process.argv.slice(2)
const cases: Record<string, { protocols: string[]; messages: (string | Buffer)[] }> = {
  text: { protocols: [], messages: ['a', 'ü', ''] },
  binary: { protocols: ['one', 'two'], messages: [Buffer.from([0, 255]), Buffer.alloc(300_000, 1)] },
}

for (const [index, base] of bases.entries())
  for (const [name, { protocols, messages }] of Object.entries(cases)) {
    let line: string
    try {
      const socket = new WebSocket(base.replace('http', 'ws'), protocols, { handshakeTimeout: 10_000 })
      await once(socket, 'open')
      const seen: unknown[] = [socket.protocol, socket.extensions]
      for (const message of messages) {
        socket.send(message)
        const [data, isBinary] = await once(socket, 'message')
        seen.push(isBinary, data.toString('base64'))
      }
      socket.send('bye')
      const [code, reason] = await once(socket, 'close')
      line = `101\t\t${Buffer.from([...seen, code, String(reason)].join('\n')).toString('base64')}`
    } catch (error) {
      line = `error\t${Buffer.from(String(error)).toString('base64')}`
    }
    console.log(`${index}\t${name}\t${line}`)
  }
