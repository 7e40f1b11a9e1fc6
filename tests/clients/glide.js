'use strict';
/* @valkey/valkey-glide, speaking RESP as the third argument says. */

const { assert, eventually, run, BINARY } = require('./check.js');
const { Batch, Decoder, GlideClient, ProtocolVersion, TimeUnit } = require('@valkey/valkey-glide');

const protocol = process.argv[4] === '2' ? ProtocolVersion.RESP2 : ProtocolVersion.RESP3;

function connect(port) {
  return GlideClient.createClient({
    addresses: [{ host: '127.0.0.1', port }],
    protocol,
    requestTimeout: 10000,
  });
}

async function scanned(client) {
  const found = new Set();
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, { match: 'many:*', count: 50 });
    keys.forEach((key) => found.add(key));
    cursor = next;
  } while (cursor !== '0');
  return found.size;
}

run(async (port, otherPort) => {
  const one = await connect(port);
  const other = await connect(otherPort);
  assert.equal(await one.set('greeting', 'hello wide world'), 'OK');
  await eventually(() => other.get('greeting'), 'hello wide world', 'the other node has it');
  await one.set('binary', BINARY);
  await eventually(() => other.get('binary', { decoder: Decoder.Bytes }), BINARY, 'binary values');
  assert.equal(await one.get('nothing'), null);
  assert.equal(await one.set('greeting', 'x', { conditionalSet: 'onlyIfDoesNotExist' }), null);
  await one.set('short', 'x', { expiry: { type: TimeUnit.Seconds, count: 100 } });
  assert.ok((await one.ttl('short')) > 90);
  assert.equal(await one.incrBy('count', 42), 42);
  assert.equal(await one.incrByFloat('float', 0.5), 0.5);
  assert.deepEqual(await one.mget(['count', 'nothing']), ['42', null]);
  await assert.rejects(one.incr('greeting'), /not an integer/);
  await assert.rejects(one.lpush('list', ['x']), /unknown command/);
  const transaction = new Batch(true).set('in', 'multi').get('in');
  assert.deepEqual(await one.exec(transaction, true), ['OK', 'multi']);
  const many = new Batch(false);
  for (let i = 0; i < 500; i++) {
    many.set(`many:${i}`, `${i}`);
  }
  assert.ok((await one.exec(many, true)).every((reply) => reply === 'OK'));
  assert.equal(await scanned(one), 500);
  assert.equal(await one.del(['greeting', 'nothing']), 1);
  await eventually(() => other.exists(['greeting']), 0, 'the other node has deleted it');
  one.close();
  other.close();
});
