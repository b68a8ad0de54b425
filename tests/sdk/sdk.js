// Asks for the readers of group messages with the vendor's real web SDK, as an application in a browser does.
//
// Usage: node sdk.js CASES, a JSON list of {name, apiUrl, token or password, group, message}. Prints a JSON list of
// {name, settled: "resolved" | "rejected" | "hung", type, message, data}, and always ends.
'use strict';

const { JSDOM } = require('jsdom');

const SETTLE_MS = 8000;
const CONNECT_MS = 3000;

// What the SDK looks for in a browser; it must be there before the SDK is loaded.
const { window } = new JSDOM('<!doctype html>', { url: 'http://localhost/' });
for (const [name, value] of Object.entries({
  window,
  self: window,
  document: window.document,
  location: window.location,
  localStorage: window.localStorage,
  XMLHttpRequest: window.XMLHttpRequest,
  WebSocket: window.WebSocket,
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

const websdk = require('easemob-websdk');

function bounded(promise, millis) {
  const hung = new Promise((resolve) => setTimeout(() => resolve({ settled: 'hung' }), millis));
  const settled = promise.then(
    (answer) => ({ settled: 'resolved', type: answer.type, data: answer.data }),
    (error) => ({ settled: 'rejected', type: error.type, message: String(error.message) }),
  );
  return Promise.race([settled, hung]);
}

async function ask({ name, apiUrl, token, password, group, message }) {
  const connection = new websdk.connection({
    appKey: 'org#app',
    isHttpDNS: false,
    https: false,
    apiUrl,
    url: 'ws://127.0.0.1:1/ws', // nobody listens: only the REST calls are wanted
  });
  const login = password === undefined ? { accessToken: token } : { pwd: password };
  await bounded(connection.open({ user: 'alice', ...login }), CONNECT_MS);
  const asked = connection.getGroupMsgReadUser({ groupId: group, msgId: message });
  return { name, ...(await bounded(asked, SETTLE_MS)) };
}

async function main() {
  const cases = JSON.parse(process.argv[2]);
  const answers = await Promise.all(cases.map(ask));
  // The SDK logs to standard output as it likes; the answer is the line that begins with this word.
  process.stdout.write(`\nANSWERS ${JSON.stringify(answers)}\n`, () => process.exit(0));
}

process.on('unhandledRejection', () => {}); // the SDK's own attempts to connect
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
