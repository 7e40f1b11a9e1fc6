'use strict';
/* connect-redis and express-session: two web servers, each with a node of its own. Who has logged in at
 * one is known to the other, and no longer once logged out. */

const http = require('node:http');
const { assert, eventually, run } = require('./check.js');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { createClient } = require('redis');

async function start(port) {
  const client = createClient({ socket: { host: '127.0.0.1', port } });
  client.on('error', (error) => {
    throw error;
  });
  await client.connect();
  const store = new RedisStore({ client, prefix: 'web:' });
  const middleware = session({ store, secret: 'a test', resave: false, saveUninitialized: false });
  const server = http.createServer((request, response) => middleware(request, response, (error) => {
    if (error) {
      throw error;
    }
    if (request.url === '/login') {
      request.session.user = 'somebody';
    }
    if (request.url === '/logout') {
      request.session.destroy(() => response.end('bye'));
    } else {
      response.end(request.session.user || 'nobody');
    }
  }));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { client, store, server, port: server.address().port };
}

function ask(web, path, cookie) {
  const options = { host: '127.0.0.1', port: web.port, path, agent: false };
  options.headers = cookie ? { cookie } : {};
  return new Promise((resolve, reject) => {
    http.get(options, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve({ body, cookie: response.headers['set-cookie'] }));
    }).on('error', reject);
  });
}

run(async (port, otherPort) => {
  const one = await start(port);
  const other = await start(otherPort);
  const login = await ask(one, '/login');
  const cookie = login.cookie[0].split(';')[0];
  const body = async (web) => (await ask(web, '/', cookie)).body;
  assert.equal(await body(one), 'somebody');
  await eventually(() => body(other), 'somebody', 'the other server knows the session');
  assert.equal((await ask(one, '/')).body, 'nobody');
  const [id] = await one.store.ids();
  assert.equal(await one.store.length(), 1);
  assert.ok((await one.client.ttl(`web:${id}`)) > 86000);
  await other.store.touch(id, { cookie: { expires: new Date(Date.now() + 500000) } });
  await eventually(async () => (await one.client.ttl(`web:${id}`)) <= 500, true, 'touched');
  assert.deepEqual((await one.store.all()).map((found) => found.user), ['somebody']);
  await ask(other, '/logout', cookie);
  await eventually(() => body(one), 'nobody', 'logged out everywhere');
  await ask(one, '/login');
  await one.store.clear();
  assert.equal(await one.store.length(), 0);
  for (const web of [one, other]) {
    web.server.close();
    await web.client.close();
  }
});
