// Opens the page of a real order in a headless browser and waits until ARRIVING is announced.
//
//   node tools/watch.mjs http://127.0.0.1:8000/t/TOKEN [seconds] [picture.png]
//
// Prints `arriving after N s` and leaves with 0, or says what the page shows and leaves with 1.
import process from 'node:process';
import { launch } from './browser.mjs';

const [url, seconds = '120', picture] = process.argv.slice(2);
if (!url) {
  console.error('usage: node tools/watch.mjs URL [seconds] [picture.png]');
  process.exit(2);
}

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 360, height: 740 } });
const started = Date.now();
let code = 0;
try {
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  await page
    .locator('[role=alert] .banner')
    .waitFor({ state: 'visible', timeout: Number(seconds) * 1000 });
  console.log(`arriving after ${((Date.now() - started) / 1000).toFixed(1)} s`);
} catch (error) {
  const text = await page.locator('body').innerText();
  console.error(`no banner: ${String(error).split('\n')[0]}\n${text}`);
  code = 1;
}
if (picture) await page.screenshot({ path: picture });
await browser.close();
process.exit(code);
