'use strict';
/* What the programs here share. Each is run as `node NAME.js PORT OTHER_PORT`, for two nodes of one
 * cluster: what it writes on the first it reads on the other. It ends with status 0 if all was right. */

const assert = require('node:assert/strict');

const DEADLINE_MS = 20000;
const BINARY = Buffer.from([0, 1, 13, 10, 34, 254, 255]);

/* Asks until the answer is the expected one. */
async function eventually(ask, expected, what) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const got = await ask();
    try {
      assert.deepEqual(got, expected);
      return;
    } catch (error) {
      if (Date.now() > end) {
        throw new Error(`${what}: ${error.message}`);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/* Runs main(port, otherPort), and tells how it ended. */
function run(main) {
  const [port, otherPort] = process.argv.slice(2).map(Number);
  main(port, otherPort).then(
    () => console.log('all right'),
    (error) => {
      console.error(error);
      process.exit(1);
    }
  );
}

module.exports = { assert, eventually, run, BINARY };
