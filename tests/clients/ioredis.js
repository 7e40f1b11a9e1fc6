'use strict';
/* ioredis, and iovalkey, which comes from it: the package that the third argument names. */

const { assert, eventually, run, BINARY } = require('./check.js');

const library = require(process.argv[4]);
const Redis = library.default || library;

function connect(port) {
  const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 0, retryStrategy: null });
  return new Promise((resolve, reject) => {
    client.once('ready', () => resolve(client));
    client.once('error', reject);
  });
}

async function scanned(client) {
  const found = new Set();
  for await (const keys of client.scanStream({ match: 'many:*', count: 50 })) {
    keys.forEach((key) => found.add(key));
  }
  return found.size;
}

run(async (port, otherPort) => {
  const one = await connect(port);
  const other = await connect(otherPort);
  assert.equal(await one.set('greeting', 'hello wide world'), 'OK');
  await eventually(() => other.get('greeting'), 'hello wide world', 'the other node has it');
  await one.set('binary', BINARY);
  await eventually(() => other.getBuffer('binary'), BINARY, 'binary values');
  assert.equal(await one.get('nothing'), null);
  assert.equal(await one.set('greeting', 'x', 'NX'), null);
  assert.equal(await one.set('short', 'x', 'EX', 100), 'OK');
  assert.ok((await one.ttl('short')) > 90);
  assert.equal(await one.incrby('count', 42), 42);
  assert.deepEqual(await one.mget('count', 'nothing'), ['42', null]);
  await assert.rejects(one.incr('greeting'), /not an integer/);
  await assert.rejects(one.lpush('list', 'x'), /unknown command/);
  const transaction = await one.multi().set('in', 'multi').get('in').exec();
  assert.deepEqual(transaction, [[null, 'OK'], [null, 'multi']]);
  const pipeline = one.pipeline();
  for (let i = 0; i < 500; i++) {
    pipeline.set(`many:${i}`, i);
  }
  assert.ok((await pipeline.exec()).every(([error, reply]) => error === null && reply === 'OK'));
  assert.equal(await scanned(one), 500);
  assert.match(await one.info('replication'), /^role:master\r$/m);
  assert.equal(await one.del('greeting', 'nothing'), 1);
  await eventually(() => other.exists('greeting'), 0, 'the other node has deleted it');
  assert.equal(await one.quit(), 'OK');
  assert.equal(await other.quit(), 'OK');
});
