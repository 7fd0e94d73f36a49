// The npm client against the warehouse: prints what it saw as one JSON object.
// Arguments: URL, user, password, and the same of a user who writes.
import { createClient } from '@clickhouse/client'

const [url, user, password, writer, writerPassword] = process.argv.slice(2)
const both = { request: true, response: true }
const reading = createClient({ url, username: user, password, database: 'lake', compression: both })
const writing = createClient({ url, username: writer, password: writerPassword, database: 'lake', compression: both })
const plain = createClient({ url, username: user, password })
const KPI = 'SELECT grid_id, cases, archived, open, archived / cases AS archived_ratio FROM v_grid_counts WHERE grid_id = {grid: String}'
const ENDLESS = 'SELECT number FROM numbers(100000000000777)'

const rowsOf = async (client, question) => (await client.query({ format: 'JSONEachRow', ...question })).json()

async function session() {
  const client = createClient({ url, username: writer, password: writerPassword, database: 'lake', session_id: 'npm' })
  await client.command({ query: 'CREATE TEMPORARY TABLE mine (a UInt8)' })
  await client.insert({ table: 'mine', values: [{ a: 7 }], format: 'JSONEachRow' })
  const rows = await rowsOf(client, { query: 'SELECT a FROM mine' })
  await client.close()
  return rows
}

async function streamed() {
  let count = 0
  let sum = 0
  const answer = await reading.query({ query: 'SELECT number FROM numbers(300000)', format: 'JSONEachRow' })
  for await (const rows of answer.stream()) for (const row of rows) { count += 1; sum += Number(row.json().number) }
  return { count, sum }
}

async function inserted() {
  const values = Array.from({ length: 20000 }, (_, a) => ({ a, s: '网格' }))
  await writing.insert({ table: 'from_npm', values, format: 'JSONEachRow' })
  return rowsOf(reading, { query: 'SELECT count() AS rows, sum(a) AS sum, any(s) AS s FROM from_npm' })
}

async function broken(client) {
  const query = 'SELECT throwIf(number = 3000000) AS thrown, number FROM numbers(4000000)'
  try {
    const answer = await client.query({ query, format: 'JSONEachRow' })
    for await (const rows of answer.stream()) rows.length
    return 'ended as if it were whole'
  } catch (error) { return String(error.message ?? error) }
}

async function aborted() {
  const leaving = new AbortController()
  const answer = await reading.query({ query: ENDLESS, format: 'JSONEachRow', abort_signal: leaving.signal })
  const running = await processes()
  answer.stream().on('error', () => {})
  leaving.abort()
  answer.close()
  while (await processes() > 0) await new Promise((resolve) => setTimeout(resolve, 50))
  return { running }
}

async function processes() {
  const query = 'SELECT count() AS n FROM system.processes WHERE startsWith(query, {q: String})'
  return Number((await rowsOf(writing, { query, query_params: { q: ENDLESS } }))[0].n)
}

const seen = {
  kpi: await rowsOf(reading, { query: KPI, query_params: { grid: '610117001001001' } }),
  session: await session(),
  streamed: await streamed(),
  inserted: await inserted(),
  broken: { gzip: await broken(reading), plain: await broken(plain) },
  aborted: await aborted(),
}
await plain.close()
await reading.close()
await writing.close()
console.log(JSON.stringify(seen))
