'use strict';
/* npm's redis: the package that the third argument names, speaking RESP as the fourth says. */

const { assert, eventually, run, BINARY } = require('./check.js');

const [name, protocol] = process.argv.slice(4);
const { createClient } = require(name);
const commandOptions = require(name).commandOptions;

async function connect(port) {
  const options = { socket: { host: '127.0.0.1', port } };
  if (protocol) {
    options.RESP = Number(protocol);
  }
  const client = createClient(options);
  client.on('error', (error) => {
    throw error;
  });
  await client.connect();
  return client;
}

async function bytes(client, key) {
  if (commandOptions) {
    return client.get(commandOptions({ returnBuffers: true }), key);
  }
  return client.withTypeMapping({ 36: Buffer }).get(key);
}

async function scanned(client) {
  const found = [];
  for await (const keys of client.scanIterator({ MATCH: 'many:*', COUNT: 50 })) {
    found.push(...[].concat(keys));
  }
  return new Set(found).size;
}

run(async (port, otherPort) => {
  const one = await connect(port);
  const other = await connect(otherPort);
  assert.equal(await one.ping(), 'PONG');
  await one.set('greeting', 'hello wide world');
  await eventually(() => other.get('greeting'), 'hello wide world', 'the other node has it');
  await one.set('binary', BINARY);
  await eventually(() => bytes(other, 'binary'), BINARY, 'binary values');
  assert.equal(await one.get('nothing'), null);
  assert.equal(await one.set('greeting', 'x', { NX: true }), null);
  await one.set('short', 'x', { EX: 100 });
  assert.ok((await one.ttl('short')) > 90);
  assert.equal(await one.incrBy('count', 41), 41);
  assert.equal(await one.incr('count'), 42);
  assert.deepEqual(await one.mGet(['count', 'nothing']), ['42', null]);
  await assert.rejects(one.incr('greeting'), /not an integer/);
  await assert.rejects(one.sendCommand(['LPUSH', 'list', 'x']), /unknown command/);
  const replies = await one.multi().set('in', 'multi').get('in').incr('count').exec();
  assert.deepEqual(replies.map(String), ['OK', 'multi', '43']);
  await Promise.all(Array.from({ length: 500 }, (_, i) => one.set(`many:${i}`, `${i}`)));
  assert.equal(await scanned(one), 500);
  assert.equal(await one.del(['greeting', 'nothing']), 1);
  await eventually(() => other.exists('greeting'), 0, 'the other node has deleted it');
  for (const client of [one, other]) {
    await (client.close ? client.close() : client.quit());
  }
});
