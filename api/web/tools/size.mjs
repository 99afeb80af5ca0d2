// Weighs what a buyer loads, compressed, and fails when it is over the budget.
//
// In:    dist/ of `npm run build`.
// Out:   one last line of key=value; exit 1 over budget.

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const DIST = new URL('../dist/', import.meta.url).pathname;
const BUDGET_TRACK = 40 * 1024;
const BUDGET_HOME = 30 * 1024;

const weigh = (name, ending) => statSync(join(DIST, name + ending)).size;

if (!existsSync(join(DIST, 'track.html.br'))) {
  console.error('dist/ is missing: run `npm run build` first');
  process.exit(2);
}
const assets = readdirSync(join(DIST, 'assets')).filter((name) => !/\.(br|gz)$/.test(name));
const map = assets.find((name) => name.startsWith('rwanda-map'));
const ofHome = assets.filter((name) => name !== map);
const sums = {};
for (const ending of ['.br', '.gz']) {
  sums[`track${ending}`] = weigh('track.html', ending) + weigh(`assets/${map}`, ending);
  sums[`home${ending}`] =
    weigh('index.html', ending) +
    ofHome.reduce((sum, name) => sum + weigh(`assets/${name}`, ending), 0);
  console.log(
    `track.html${ending} ${weigh('track.html', ending)}  map${ending} ${weigh(`assets/${map}`, ending)}`,
  );
}
const over = sums['track.gz'] > BUDGET_TRACK || sums['home.gz'] > BUDGET_HOME;
console.log(
  `size=pages track_br=${sums['track.br']} track_gz=${sums['track.gz']} home_br=${sums['home.br']} home_gz=${sums['home.gz']} budget_gz=${BUDGET_TRACK}`,
);
process.exit(over ? 1 : 0);
