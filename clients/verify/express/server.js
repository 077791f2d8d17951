import express from 'express'
import { portcullis } from './portcullis.js'

const { PORT, ISSUER: issuer, AUDIENCE: audience, JWKS_URI: jwksUri } = process.env

const app = express()
app.use(portcullis({ issuer, audience, jwksUri }))
app.get('/me', (request, response) => {
  if (request.caller === null) return response.status(401).json({ error: 'Log in first.' })
  response.json(request.caller)
})
app.listen(PORT, '127.0.0.1')
