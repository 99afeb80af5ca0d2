// A stand-in for the service: the pages, the three ways to watch, the log-in. No database, no log.
//
//   npm run fake               serves dist/ (after `npm run build`) on 127.0.0.1:8011
//   npm run dev                the same with Vite's dev server underneath
//
// Tokens are scenario names: /t/moving, /t/arriving, /t/offline, /t/life, … A suffix after a dot
// makes another order of the same scenario: /t/moving.2. `?lang=rw` sets the boot language, `?tiles`
// offers tiles.

import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import { FakeOrder, SCENARIO_NAMES } from './fake-order.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
};
/** One tile that can be told from bare ground. */
const TILE =
  '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"><rect width="256" height="256" fill="#dfe8f2" stroke="#9db3cc"/></svg>';
const FIX_EVERY_MS = 2_000;
const PING_EVERY_MS = 25_000;

export async function startFake({ port = 0, dev = false, tiles = null } = {}) {
  const orders = new Map();
  const watchers = new Set();
  /** What a test may break: refuse a way, or answer everything with 503. */
  const faults = { ws: false, sse: false, poll: false, down: false };
  const counts = { ws: 0, sse: 0, poll: 0, tiles: 0 };
  const vite = dev ? await viteServer() : null;

  const orderOf = (token) => {
    if (!orders.has(token)) orders.set(token, new FakeOrder(token));
    return orders.get(token);
  };
  const byId = (id) => [...orders.values()].find((order) => order.id === id);

  const tick = setInterval(() => {
    for (const order of orders.values()) {
      const events = order.live();
      const position = order.plan.moves ? order.position() : null;
      const frame = position && {
        type: 'position',
        order_id: order.id,
        ...position,
        cursor: order.cursor(),
      };
      for (const watcher of watchers) {
        if (watcher.order !== order) continue;
        for (const event of events) watcher.send(event);
        if (frame) watcher.send(frame);
      }
    }
  }, FIX_EVERY_MS);
  const pings = setInterval(
    () => watchers.forEach((each) => each.send({ type: 'ping' })),
    PING_EVERY_MS,
  );

  function watch(order, cursor, send, close) {
    const watcher = { order, send, close };
    send(order.snapshot());
    order.after(cursor).forEach(send);
    watchers.add(watcher);
    return () => watchers.delete(watcher);
  }

  const server = createServer((request, response) => {
    void answer(request, response).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  });

  async function answer(request, response) {
    const url = new URL(request.url, 'http://fake');
    const api = /^\/api\/v1\/orders\/([^/]+)\/(events|location|track)$/.exec(url.pathname);
    if (url.pathname.startsWith('/api/') && faults.down) return void response.writeHead(503).end();
    if (api) return watchHttp(byId(api[1]), api[2], url, request, response);
    if (url.pathname === '/api/v1/auth/login') return logIn(request, response);
    if (url.pathname === '/api/v1/auth/logout') return void response.writeHead(204).end();
    if (url.pathname.startsWith('/tile/')) {
      counts.tiles += 1;
      response.writeHead(200, { 'content-type': 'image/svg+xml' });
      return void response.end(TILE);
    }
    const token = /^\/t\/([\w.-]+)$/.exec(url.pathname)?.[1];
    if (token) return trackPage(token, url, response);
    if (vite && url.pathname !== '/') {
      return vite.middlewares(request, response, () => response.writeHead(404).end());
    }
    return staticFile(url.pathname === '/' ? '/index.html' : url.pathname, request, response);
  }

  async function html(name, path) {
    const text = readFileSync(join(vite ? ROOT : DIST, name), 'utf8');
    return vite ? vite.transformIndexHtml(path, text) : text;
  }

  async function trackPage(token, url, response) {
    const order = orderOf(token);
    const boot = order.boot(
      url.searchParams.get('lang'),
      url.searchParams.has('tiles') ? '/tile/{z}/{x}/{y}' : tiles,
    );
    const json = JSON.stringify(boot).replaceAll('<', '\\u003c');
    const page = (await html('track.html', url.pathname)).replace(
      '<!--inzira-boot-->',
      () => `<script type="application/json" id="inzira-boot">${json}</script>`,
    );
    response.writeHead(order.linked ? 200 : 404, {
      'content-type': TYPES['.html'],
      'cache-control': 'no-store',
      ...(vite ? {} : { 'content-security-policy': policy('track.html') }),
    });
    response.end(page);
  }

  function watchHttp(order, what, url, request, response) {
    if (what === 'track') {
      if (!order) return void response.writeHead(404).end();
      response.writeHead(200, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify(order.track()));
    }
    if (what === 'events' ? faults.sse : faults.poll) return void response.writeHead(502).end();
    if (!order) return void response.writeHead(404).end();
    if (order.gone) return void response.writeHead(410).end();
    const after = url.searchParams.get('after') ?? request.headers['last-event-id'];
    if (what === 'location') {
      counts.poll += 1;
      const events = order.after(after).map(({ event, event_id, at }) => ({ event, event_id, at }));
      const body = {
        order_id: order.id,
        state: order.state,
        ...order.position(),
        events,
        cursor: order.cursor(),
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify(body));
    }
    counts.sse += 1;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const send = (frame) =>
      response.write(
        `event: ${frame.type}\nid: ${frame.cursor ?? ''}\ndata: ${JSON.stringify(frame)}\n\n`,
      );
    const leave = watch(order, after, send, () => response.destroy());
    request.on('close', leave);
  }

  const sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    const url = new URL(request.url, 'http://fake');
    const id = /^\/api\/v1\/orders\/([^/]+)\/live$/.exec(url.pathname)?.[1];
    if (!id) return vite ? undefined : socket.destroy();
    const order = byId(id);
    if (!order || faults.ws || faults.down) return socket.destroy();
    sockets.handleUpgrade(request, socket, head, (ws) => {
      if (order.gone) return ws.close(4410);
      counts.ws += 1;
      const send = (frame) => ws.readyState === ws.OPEN && ws.send(JSON.stringify(frame));
      ws.on(
        'close',
        watch(order, url.searchParams.get('after'), send, () => ws.terminate()),
      );
    });
  });

  function staticFile(path, request, response) {
    const file = join(vite ? ROOT : DIST, normalize(path));
    if (!file.startsWith(vite ? ROOT : DIST) || !existsSync(file))
      return void response.writeHead(404).end();
    if (vite)
      return void html('index.html', '/').then((text) =>
        response.writeHead(200, { 'content-type': TYPES['.html'] }).end(text),
      );
    const zipped =
      (request.headers['accept-encoding'] ?? '').includes('gzip') && existsSync(`${file}.gz`);
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      ...(zipped ? { 'content-encoding': 'gzip' } : {}),
    });
    response.end(readFileSync(zipped ? `${file}.gz` : file));
  }

  async function viteServer() {
    const { createServer: createVite } = await import('vite');
    return createVite({
      root: ROOT,
      appType: 'custom',
      server: { middlewareMode: true, hmr: { port: 24_679 } },
    });
  }

  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    faults,
    counts,
    orderOf,
    emit(token, event) {
      const frame = orderOf(token).emit(event);
      watchers.forEach((each) => each.order.token === token && each.send(frame));
    },
    drop: (token) => watchers.forEach((each) => each.order.token === token && each.close()),
    async close() {
      clearInterval(tick);
      clearInterval(pings);
      watchers.forEach((each) => each.close());
      sockets.close();
      server.closeAllConnections();
      await vite?.close();
      await new Promise((done) => server.close(done));
    },
  };
}

/** As strict as the service's: an inline style or script that nobody hashed would not run. */
function policy(name) {
  const { script, style } = JSON.parse(readFileSync(join(DIST, 'csp.json'), 'utf8'))[name];
  return `default-src 'self'; script-src 'self' '${script}'; style-src 'self' '${style}'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'`;
}

/** Any phone whose password is the name of a role logs in as that role. */
async function logIn(request, response) {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { password } = JSON.parse(body);
  const known = [
    'customer',
    'agent',
    'driver',
    'vendor',
    'operator',
    'admin',
    'analyst',
    'engineer',
    'government',
  ];
  if (password === 'slow-down') return void response.writeHead(429, { 'retry-after': '42' }).end();
  if (!known.includes(password)) return void response.writeHead(401).end();
  response.writeHead(200, {
    'content-type': 'application/json',
    'set-cookie': 'inzira_session=fake; HttpOnly; SameSite=Strict; Path=/',
  });
  response.end(JSON.stringify({ role: password }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fake = await startFake({
    port: Number(process.env.PORT ?? 8011),
    dev: process.argv.includes('--dev'),
  });
  for (const name of SCENARIO_NAMES) console.log(`${fake.origin}/t/${name}`);
  console.log(`${fake.origin}/   (password = a role: customer, driver, operator, …)`);
}
