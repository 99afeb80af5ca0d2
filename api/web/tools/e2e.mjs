// The buyer's page in a real browser against the stand-in service.
//
// In:    dist/ of `npm run build`.
// Out:   a line for each journey; one last line of key=value; exit 1 when a journey fails.

import { strict as assert } from 'node:assert';
import { launch } from './browser.mjs';
import { startFake } from './fake.mjs';

const PHONE = { viewport: { width: 360, height: 740 }, locale: 'en' };
const BUDGET_BYTES = 60 * 1024;

const fake = await startFake();
const browser = await launch();
let failed = 0;
let transferred = 0;

async function journey(name, run, options = {}) {
  const context = await browser.newContext({ ...PHONE, ...options });
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (said) => {
    if (/Content Security Policy/.test(said.text())) problems.push(said.text());
  });
  const started = performance.now();
  try {
    await run(page, context);
    assert.deepEqual(problems, [], 'the page threw');
    console.log(`ok      ${name} (${Math.round(performance.now() - started)} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack ?? error}`);
  }
  Object.assign(fake.faults, { ws: false, sse: false, poll: false, down: false });
  await context.close();
}

const open = (page, token) => page.goto(`${fake.origin}/t/${token}?lang=en`);
const headline = (page) => page.locator('h1').innerText();
const until = (page, text, timeout = 15_000) =>
  page.waitForFunction((wanted) => document.body.innerText.includes(wanted), text, { timeout });

/** What the canvas shows, as numbers: two pictures that differ have different sums. */
const picture = (page) =>
  page.evaluate(() => {
    const canvas = document.querySelector('canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 1]) >>> 0;
    return sum;
  });

async function waitFor(what, holds, timeoutMs = 15_000) {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    assert.ok(performance.now() < end, `timed out: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

await journey(
  'the page is complete within the budget, and paints from one request',
  async (page) => {
    const client = await page.context().newCDPSession(page);
    await client.send('Network.enable');
    let bytes = 0;
    let requests = 0;
    let beforePaint = null;
    client.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
    client.on(
      'Network.requestWillBeSent',
      ({ request }) => !request.url.startsWith('data:') && (requests += 1),
    );
    page.on('domcontentloaded', () => (beforePaint = requests));
    await open(page, 'moving.weight');
    await until(page, 'Your parcel is on its way');
    await until(page, 'in Gasabo');
    // The stand-in sends the page itself without compression; the service compresses it.
    const html = (await (await fetch(`${fake.origin}/t/moving.weight`)).text()).length;
    const { gzipSync } = await import('node:zlib');
    const text = await (await fetch(`${fake.origin}/t/moving.weight`)).text();
    transferred = bytes - html + gzipSync(text).length;
    assert.equal(beforePaint, 1, 'one request before the first paint');
    assert.ok(transferred < BUDGET_BYTES, `${transferred} bytes`);
  },
);

await journey('the vehicle moves between two fixes, smoothly', async (page) => {
  await open(page, 'moving.smooth');
  await page.waitForTimeout(5000);
  const pictures = new Set();
  for (let i = 0; i < 10; i += 1) {
    pictures.add(await picture(page));
    await page.waitForTimeout(100);
  }
  assert.ok(pictures.size >= 7, `${pictures.size} different pictures in a second`);
});

await journey(
  'it stands still for who asked for less motion',
  async (page) => {
    await open(page, 'arrived.calm');
    await page.waitForTimeout(1500);
    const before = await picture(page);
    await page.waitForTimeout(700);
    assert.equal(await picture(page), before);
  },
  { reducedMotion: 'reduce' },
);

await journey(
  'ARRIVING comes as an event and is announced, then ARRIVED and DELIVERED',
  async (page) => {
    await open(page, 'life.one');
    await until(page, 'Have your PIN ready', 40_000);
    assert.equal(await page.locator('[role=alert] .banner').isVisible(), true);
    assert.match(await page.title(), /^◆/);
    await until(page, 'Your parcel is here', 40_000);
    assert.equal(await page.locator('.banner').isVisible(), false);
    fake.emit('life.one', 'DELIVERED');
    await until(page, 'Delivered');
    assert.equal(await headline(page), 'Delivered');
  },
);

await journey('a dropped socket resumes by cursor: the missed event comes, once', async (page) => {
  await open(page, 'moving.drop');
  await until(page, 'Live');
  const before = fake.counts.ws;
  await page.evaluate(() => {
    window.shown = 0;
    new window.MutationObserver(() => {
      const hidden = document.querySelector('.banner').hidden;
      if (!hidden && window.wasHidden !== false) window.shown += 1;
      window.wasHidden = hidden;
    }).observe(document.querySelector('.banner'), { attributes: true });
  });
  fake.drop('moving.drop');
  fake.emit('moving.drop', 'ARRIVING');
  await until(page, 'Have your PIN ready');
  await waitFor('a second socket', () => fake.counts.ws > before);
  fake.drop('moving.drop');
  await waitFor('a third socket', () => fake.counts.ws > before + 1);
  await page.waitForTimeout(800);
  assert.equal(await page.evaluate(() => window.shown), 1);
});

await journey('without WebSocket it falls back to SSE', async (page) => {
  fake.faults.ws = true;
  const before = fake.counts.sse;
  await open(page, 'moving.sse');
  await waitFor('an SSE stream', () => fake.counts.sse > before);
  fake.emit('moving.sse', 'ARRIVING');
  await until(page, 'Have your PIN ready');
});

await journey('without WebSocket and SSE it polls, and says so', async (page) => {
  Object.assign(fake.faults, { ws: true, sse: true });
  await open(page, 'moving.poll');
  await until(page, 'updates every few seconds', 25_000);
  fake.emit('moving.poll', 'ARRIVING');
  await until(page, 'Have your PIN ready', 20_000);
});

await journey('offline keeps the last state and comes back at once', async (page, context) => {
  await open(page, 'moving.offline');
  await until(page, 'Live');
  await context.setOffline(true);
  await until(page, 'You are offline');
  assert.equal(await headline(page), 'Your parcel is on its way');
  const before = fake.counts.ws;
  await context.setOffline(false);
  await waitFor('a new socket', () => fake.counts.ws > before, 3000);
  await page.locator('.pill').waitFor({ state: 'hidden' });
});

await journey('our own trouble is called ours', async (page) => {
  await open(page, 'moving.down');
  await until(page, 'Live');
  fake.faults.down = true;
  fake.drop('moving.down');
  await until(page, 'It is us, not your driver');
});

await journey('a silent phone is called out of reach', async (page) => {
  await open(page, 'offline.one');
  await until(page, 'The driver’s phone is out of reach');
  await until(page, 'Seen 6 min ago');
});

await journey('expired, unknown and closed links say what they are', async (page) => {
  for (const [token, title] of [
    ['expired', 'This link has expired'],
    ['unknown', 'We do not know this link'],
    ['closed', 'This order is finished'],
  ]) {
    await open(page, token);
    assert.equal(await headline(page), title);
  }
});

await journey('a link that ends while it is watched says so', async (page) => {
  await open(page, 'moving.ends');
  await until(page, 'Live');
  fake.orderOf('moving.ends').gone = true;
  fake.drop('moving.ends');
  await until(page, 'This link has expired');
});

await journey('the language changes on the page and is remembered', async (page) => {
  await open(page, 'moving.lang');
  await page.click('button[lang=rw]');
  assert.equal(await headline(page), 'Umuzigo wawe uri mu nzira');
  await page.reload();
  assert.equal(await headline(page), 'Umuzigo wawe uri mu nzira');
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'rw');
});

await journey('the keyboard moves the map, and F follows again', async (page) => {
  await open(page, 'moving.keys');
  await page.focus('canvas');
  const before = await picture(page);
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('+');
  await page.waitForTimeout(500);
  assert.notEqual(await picture(page), before);
  assert.equal(await page.locator('.map-follow').isVisible(), true);
  await page.keyboard.press('f');
  assert.equal(await page.locator('.map-follow').isVisible(), false);
});

await journey(
  'nothing is wider than a narrow screen, also with large text',
  async (page) => {
    for (const token of ['moving.wide', 'arriving.wide', 'expired']) {
      await open(page, token);
      await page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
      await page.waitForTimeout(200);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 320, `${token}: ${wide}`);
    }
  },
  { viewport: { width: 320, height: 640 } },
);

await journey('tiles are drawn when there are some, and never with save-data', async (page) => {
  await page.goto(`${fake.origin}/t/moving.tiles?tiles`);
  await waitFor('tiles', () => fake.counts.tiles > 3);
  await page.addInitScript(() => {
    Object.defineProperty(navigator, 'connection', {
      value: { saveData: true, effectiveType: '4g' },
    });
  });
  await page.goto(`${fake.origin}/t/moving.spared?tiles`);
  const before = fake.counts.tiles;
  await until(page, 'in Gasabo');
  await page.waitForTimeout(800);
  assert.equal(fake.counts.tiles, before);
});

await journey('logging in shows the doors of the role; a wrong password says so', async (page) => {
  await page.goto(`${fake.origin}/`);
  await page.fill('[name=username]', '0788123456');
  await page.fill('[name=password]', 'nope');
  await page.keyboard.press('Enter');
  await until(page, 'Phone number or password is not right.');
  await page.fill('[name=password]', 'slow-down');
  await page.keyboard.press('Enter');
  await until(page, 'Wait 42 seconds');
  await page.fill('[name=password]', 'driver');
  await page.keyboard.press('Enter');
  await until(page, 'Drive: offers and trips');
});

await browser.close();
await fake.close();
console.log(
  `e2e=pages failed=${failed} transferred_bytes=${transferred} budget_bytes=${BUDGET_BYTES}`,
);
process.exit(failed === 0 ? 0 : 1);
