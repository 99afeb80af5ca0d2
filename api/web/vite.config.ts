// One config for the dev server and the tests; `tools/build.mjs` makes what is shipped.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  appType: 'custom',
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
