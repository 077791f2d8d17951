import { startApiGateway } from './gateway.ts'
import { startKeeper } from './keeper.ts'

const g = await startApiGateway()
const k = await startKeeper(g)
console.log(`export PORTCULLIS_URL=${g.url} PORTCULLIS_KEEPER=${k.url} PORTCULLIS_DB=${g.databaseUrl}`)
process.on('SIGTERM', async () => {
  console.log(g.complaints().slice(0, 20).join('\n'))
  await k.stop()
  await g.stop()
  process.exit()
})
