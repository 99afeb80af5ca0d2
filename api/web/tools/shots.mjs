// Takes pictures of every state of the pages, to be looked at.
//
//   npm run shots              all of them into .shots/
//   npm run shots -- moving    only the names that contain a word

import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { launch } from './browser.mjs';
import { startFake } from './fake.mjs';

const OUT = fileURLToPath(new URL('../.shots', import.meta.url));
const PHONE = { name: '360', viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 };
const WIDE = { name: '1280', viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 };
const STATES = [
  'pending',
  'searching',
  'nodriver',
  'failed',
  'firstfix',
  'pickup',
  'ride',
  'moving',
  'van',
  'arriving',
  'arrived',
  'stale',
  'offline',
  'delivered',
  'cancelled',
  'expired',
  'unknown',
  'closed',
];

function* plans() {
  for (const state of STATES) {
    for (const screen of [PHONE, WIDE]) {
      for (const theme of ['light', 'dark']) yield { state, screen, theme, lang: 'en' };
    }
  }
  for (const lang of ['rw', 'fr']) {
    for (const state of ['pickup', 'moving', 'arriving', 'arrived', 'offline', 'expired']) {
      yield { state, screen: PHONE, theme: lang === 'rw' ? 'light' : 'dark', lang };
      yield { state, screen: WIDE, theme: lang === 'rw' ? 'dark' : 'light', lang };
    }
  }
  for (const screen of [PHONE, WIDE]) {
    yield { state: 'home', screen, theme: 'light', lang: 'en' };
    yield { state: 'home', screen, theme: 'dark', lang: 'rw' };
    yield { state: 'home-error', screen, theme: 'light', lang: 'fr' };
    yield { state: 'home-in', screen, theme: 'light', lang: 'en' };
    yield { state: 'own', screen, theme: 'light', lang: 'en' };
    yield { state: 'service', screen, theme: 'dark', lang: 'en' };
    yield { state: 'country', screen, theme: 'light', lang: 'en' };
    yield { state: 'country', screen, theme: 'dark', lang: 'en' };
    yield { state: 'noscript', screen, theme: 'light', lang: 'en' };
    yield { state: 'large-text', screen, theme: 'light', lang: 'rw' };
  }
}

const prepare = {
  home: (page, fake) => page.goto(`${fake.origin}/`),
  'home-error': async (page, fake) => {
    await page.goto(`${fake.origin}/`);
    await page.fill('[name=username]', '0788123456');
    await page.fill('[name=password]', 'wrong');
    await page.click('form.panel button[type=submit]');
  },
  'home-in': async (page, fake) => {
    await page.goto(`${fake.origin}/`);
    await page.fill('[name=username]', '0788123456');
    await page.fill('[name=password]', 'admin');
    await page.click('form.panel button[type=submit]');
  },
  own: async (page, fake) => {
    await page.goto(`${fake.origin}/t/moving.own`);
    await page.waitForTimeout(1500);
    await page.context().setOffline(true);
    await page.waitForTimeout(1500);
  },
  service: async (page, fake) => {
    await page.goto(`${fake.origin}/t/moving.service`);
    await page.waitForTimeout(1500);
    fake.faults.down = true;
    fake.drop('moving.service');
    await page.waitForTimeout(2500);
  },
  country: async (page, fake) => {
    await page.goto(`${fake.origin}/t/moving.country`);
    await page.waitForTimeout(600);
    await page.focus('canvas');
    for (let i = 0; i < 5; i += 1) await page.keyboard.press('-');
    await page.waitForTimeout(600);
  },
  'large-text': async (page, fake) => {
    await page.goto(`${fake.origin}/t/arriving.large`);
    await page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
    await page.evaluate(() => window.dispatchEvent(new window.Event('resize')));
  },
  noscript: (page, fake) => page.goto(`${fake.origin}/t/moving.plain`),
};

async function shoot(browser, fake, { state, screen, theme, lang }) {
  const context = await browser.newContext({
    viewport: screen.viewport,
    deviceScaleFactor: screen.deviceScaleFactor,
    colorScheme: theme,
    locale: lang,
    javaScriptEnabled: state !== 'noscript',
  });
  await context.addInitScript((chosen) => window.localStorage.setItem('inzira-lang', chosen), lang);
  const page = await context.newPage();
  if (prepare[state]) await prepare[state](page, fake);
  else await page.goto(`${fake.origin}/t/${state}.${screen.name}${theme}${lang}`);
  await page.waitForTimeout(1400);
  const file = join(OUT, `${state}-${screen.name}-${theme}-${lang}.png`);
  await page.screenshot({ path: file, fullPage: state === 'large-text' && screen === PHONE });
  await context.close();
  fake.faults.down = false;
  return file;
}

if (!existsSync(fileURLToPath(new URL('../dist/track.html', import.meta.url)))) {
  console.error('dist/ is missing: run `npm run build` first');
  process.exit(2);
}
mkdirSync(OUT, { recursive: true });
const words = process.argv.slice(2);
const fake = await startFake();
const browser = await launch();
let taken = 0;
for (const plan of plans()) {
  const name = `${plan.state}-${plan.screen.name}-${plan.theme}-${plan.lang}`;
  if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
  await shoot(browser, fake, plan);
  taken += 1;
}
await browser.close();
await fake.close();
console.log(`shots=${taken} folder=${OUT}`);
