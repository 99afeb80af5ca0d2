// Makes dist/: what the server ships.
//
// Out:   dist/track.html   the buyer's page, styles and script inside: first paint from one request;
//                          `<!--inzira-boot-->` and `<!--inzira-plain-->` are the server's to replace
//        dist/index.html   the first page, with hashed files under dist/assets
//        dist/csp.json     the hashes of the inline style and script of track.html, for the policy
//        *.br, *.gz        beside every text file
// Never: leaves words of one page in the other.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { build } from 'vite';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const DIST = join(ROOT, 'dist');

/** Old enough for the phones that are in use, new enough to need no helpers. */
const TARGET = ['es2020', 'chrome87', 'firefox78', 'safari14'];

/** Keeps only the messages that a page can show. */
function wordsOf(keep) {
  return {
    name: 'inzira-words',
    enforce: 'pre',
    load(id) {
      if (!/\/i18n\/(en|rw|fr)\.json$/.test(id)) return null;
      const all = Object.entries(JSON.parse(readFileSync(id, 'utf8')));
      return JSON.stringify(Object.fromEntries(all.filter(([key]) => keep(key))));
    },
  };
}

/** Puts the one script and the one style sheet of a page into its HTML. */
function inline(hashes) {
  const sha = (text) => `sha256-${createHash('sha256').update(text).digest('base64')}`;
  return {
    name: 'inzira-inline',
    enforce: 'post',
    generateBundle(_, bundle) {
      const files = Object.values(bundle);
      const html = files.find((file) => file.fileName.endsWith('.html'));
      const script = files.filter((file) => file.type === 'chunk');
      const style = files.filter((file) => file.fileName.endsWith('.css'));
      if (!html || script.length !== 1 || style.length !== 1) {
        throw new Error(
          `one script and one style expected, not ${script.length} and ${style.length}`,
        );
      }
      const code = script[0].code.trim().replaceAll('</script', '<\\/script');
      const css = String(style[0].source).trim();
      html.source = String(html.source)
        .replace(/\s*<script type="module"[^>]*><\/script>/, '')
        .replace(/\s*<link rel="stylesheet"[^>]*>/, '')
        .replace('</head>', () => `  <style>${css}</style>\n  </head>`)
        .replace('</body>', () => `  <script type="module">${code}</script>\n  </body>`);
      for (const file of [script[0], style[0]]) delete bundle[file.fileName];
      hashes[html.fileName] = { script: sha(code), style: sha(css) };
    },
  };
}

async function page(input, plugins) {
  await build({
    root: ROOT,
    configFile: false,
    logLevel: 'warn',
    plugins,
    build: {
      outDir: DIST,
      emptyOutDir: false,
      target: TARGET,
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
      rolldownOptions: { input: join(ROOT, input) },
    },
  });
}

function* textFiles(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* textFiles(path);
    else if (/\.(html|js|css|json|svg)$/.test(name)) yield path;
  }
}

rmSync(DIST, { recursive: true, force: true });
const hashes = {};
await page('track.html', [wordsOf((key) => !/^(home|plain)\./.test(key)), inline(hashes)]);
await page('index.html', [wordsOf((key) => /^(home|lang|brand)\./.test(key))]);
writeFileSync(join(DIST, 'csp.json'), `${JSON.stringify(hashes, null, 2)}\n`);
for (const path of textFiles(DIST)) {
  const bytes = readFileSync(path);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params }));
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
}
