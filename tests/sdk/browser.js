// Fetches addresses from a page of another origin in a real browser, which asks by a CORS preflight first.
//
// Usage: node browser.js '{"chromium": PATH, "page": ADDRESS, "requests": [{"url", "token"}]}'. Prints a JSON list of
// {status, body, requestId}, or {error} where the browser did not let the page read the answer.
'use strict';

const { chromium } = require('playwright-core');

const STEP_MS = 20000;

async function main() {
  const { chromium: executablePath, page: address, requests } = JSON.parse(process.argv[2]);
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    timeout: STEP_MS,
    args: [
      '--no-sandbox', // the tests run as root in containers
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(STEP_MS);
    await page.goto(address);
    const answers = await page.evaluate(
      (asked) =>
        Promise.all(
          asked.map(async ({ url, token }) => {
            try {
              const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
              const response = await fetch(url, { headers });
              const requestId = response.headers.get('x-request-id');
              return { status: response.status, body: await response.json(), requestId };
            } catch (error) {
              return { error: String(error) };
            }
          }),
        ),
      requests,
    );
    process.stdout.write(`\nANSWERS ${JSON.stringify(answers)}\n`);
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
