// Makes the map that the pages draw without a tile server, out of the official boundaries.
//
// In:    districts.geojson of WASAC's rw-admin-boundary (path as the first argument, else
//        ../shared/data/rwanda_admin/districts.geojson beside the project).
// Out:   src/assets/rwanda-districts.json  plain GeoJSON, 30 districts with `id` and `name`;
//        src/assets/rwanda-outline.json    plain GeoJSON, the country as one feature;
//        src/assets/rwanda-map.json        the same borders once each, delta coded, for the pages.
// Keeps: topology: neighbours share every vertex of their border, before and after.
// Never: invents geometry; it only leaves points out and rounds the rest to 1e-4 degrees (11 m).
//
// Run by hand when the source changes: `npm run map`. The outputs are committed.

import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { topology } from 'topojson-server';
import { presimplify, quantile } from 'topojson-simplify';
import { feature, merge } from 'topojson-client';

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE = resolve(
  process.argv[2] ?? resolve(HERE, '../../../../shared/data/rwanda_admin/districts.geojson'),
);
const ASSETS = resolve(HERE, '../src/assets');

/** Points kept of all points, chosen so that the GeoJSON stays well below 100 KB. */
const KEPT_SHARE = 0.031;
/** Output grid: 1e-4 degrees, about 11 m. */
const GRID = 1e4;
/** A ring smaller than this (square degrees) is a sliver of digitising, not land. */
const SLIVER_DEG2 = 2e-5;

const CREDIT = '©WASAC, Ltd. (CC BY 4.0)';

const snap = (value) => Math.round(value * GRID) / GRID;

/** The points of an arc that weigh enough, on the output grid, without the repeats this makes. */
function lighten(arc, weightMin) {
  const points = arc.filter((p) => p[2] >= weightMin).map(([x, y]) => [snap(x), snap(y)]);
  const kept = points.filter(
    (p, i) => i === 0 || p[0] !== points[i - 1][0] || p[1] !== points[i - 1][1],
  );
  return kept.length > 1 ? kept : [points[0], points[points.length - 1]];
}

/** The arcs in which two lines cross: thinning can fold a narrow bend over itself. */
function crossedArcs(arcs) {
  const segments = arcs.flatMap((arc, index) =>
    arc.slice(1).map((b, i) => ({
      index,
      a: arc[i],
      b,
      x0: Math.min(arc[i][0], b[0]),
      x1: Math.max(arc[i][0], b[0]),
    })),
  );
  segments.sort((p, q) => p.x0 - q.x0);
  const side = (p, q, r) =>
    Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
  const crossed = new Set();
  segments.forEach((s, i) => {
    for (let j = i + 1; j < segments.length && segments[j].x0 <= s.x1; j += 1) {
      const t = segments[j];
      if (side(s.a, s.b, t.a) * side(s.a, s.b, t.b) >= 0) continue;
      if (side(t.a, t.b, s.a) * side(t.a, t.b, s.b) >= 0) continue;
      crossed.add(s.index).add(t.index);
    }
  });
  return crossed;
}

/** Thins all arcs alike; where lines cross, keeps more points there until they no longer do. */
function thin(weighed, weightMin) {
  const weights = weighed.arcs.map(() => weightMin);
  const ROUNDS_MAX = 40;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const arcs = weighed.arcs.map((arc, i) => lighten(arc, weights[i]));
    const crossed = crossedArcs(arcs);
    if (crossed.size === 0) return { ...weighed, arcs };
    for (const index of crossed) weights[index] *= 0.8;
  }
  throw new Error('borders still cross each other: change KEPT_SHARE');
}

function ringArea(ring) {
  let twice = 0;
  for (let i = 0; i + 1 < ring.length; i += 1) {
    twice += ring[i][0] * ring[i + 1][1] - ring[i + 1][0] * ring[i][1];
  }
  return Math.abs(twice) / 2;
}

/** A polygon's true rings: outer ring first, slivers left out. */
function landOf(geometry) {
  const polygons = geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates;
  const land = polygons
    .map((rings) => rings.filter((ring) => ring.length >= 4 && ringArea(ring) > SLIVER_DEG2))
    .filter((rings) => rings.length > 0);
  return land.length === 1
    ? { type: 'Polygon', coordinates: land[0] }
    : { type: 'MultiPolygon', coordinates: land };
}

/** Delta coding of lines on the grid: [x0, y0, dx, dy, …] in units of 1e-4 degrees. */
function coded(lines) {
  return lines.map((line) => {
    const out = [];
    let [x, y] = [0, 0];
    for (const [lon, lat] of line) {
      const [gx, gy] = [Math.round(lon * GRID), Math.round(lat * GRID)];
      out.push(gx - x, gy - y);
      [x, y] = [gx, gy];
    }
    return out;
  });
}

/** The point inside a polygon that is farthest from its border, found on a grid: for the label. */
function labelPoint(geometry) {
  const rings = geometry.type === 'Polygon' ? geometry.coordinates : geometry.coordinates[0];
  const xs = rings[0].map((p) => p[0]);
  const ys = rings[0].map((p) => p[1]);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  let best = { clearance: -1, at: [(x0 + x1) / 2, (y0 + y1) / 2] };
  const STEPS = 60;
  for (let i = 1; i < STEPS; i += 1) {
    for (let j = 1; j < STEPS; j += 1) {
      const at = [x0 + ((x1 - x0) * i) / STEPS, y0 + ((y1 - y0) * j) / STEPS];
      const clearance = clearanceOf(at, rings);
      if (clearance > best.clearance) best = { clearance, at };
    }
  }
  return { at: best.at.map(snap), clearance: snap(best.clearance) };
}

/** Distance to the nearest border, negative outside; degrees. Labels are wide: x counts half. */
function clearanceOf([px, py], rings) {
  let inside = false;
  let nearest = Infinity;
  for (const ring of rings) {
    for (let i = 0; i + 1 < ring.length; i += 1) {
      const [ax, ay] = ring[i];
      const [bx, by] = ring[i + 1];
      if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) inside = !inside;
      const [ux, uy] = [(bx - ax) * 0.5, by - ay];
      const [wx, wy] = [(px - ax) * 0.5, py - ay];
      const t = Math.max(0, Math.min(1, (wx * ux + wy * uy) / (ux * ux + uy * uy || 1)));
      nearest = Math.min(nearest, Math.hypot(wx - ux * t, wy - uy * t));
    }
  }
  return inside ? nearest : -nearest;
}

function save(name, value) {
  const text = `${JSON.stringify(value)}\n`;
  writeFileSync(resolve(ASSETS, name), text);
  console.log(`${name} bytes=${text.length} gzip=${gzipSync(text, { level: 9 }).length}`);
}

const source = JSON.parse(readFileSync(SOURCE, 'utf8'));
const plain = {
  type: 'FeatureCollection',
  features: source.features.map(({ properties: { id, name }, geometry }) => ({
    type: 'Feature',
    properties: { id, name },
    geometry,
  })),
};

const weighed = presimplify(topology({ districts: plain }));
const topo = thin(weighed, quantile(weighed, KEPT_SHARE));

const districts = feature(topo, topo.objects.districts);
districts.features.sort((a, b) => a.properties.id - b.properties.id);
for (const each of districts.features) each.geometry = landOf(each.geometry);

const country = landOf(merge(topo, topo.objects.districts.geometries));

save('rwanda-districts.json', {
  type: 'FeatureCollection',
  name: 'Districts of Rwanda, simplified',
  attribution: CREDIT,
  features: districts.features.map(({ type, properties, geometry }) => ({
    type,
    properties,
    geometry,
  })),
});
save('rwanda-outline.json', {
  type: 'Feature',
  properties: { name: 'Rwanda', attribution: CREDIT },
  geometry: country,
});
// The pages want each border once, and still the districts as areas: arcs, and the arcs of each.
const shared = topology({ districts: { type: 'FeatureCollection', features: districts.features } });
save('rwanda-map.json', {
  credit: CREDIT,
  grid: GRID,
  arcs: coded(shared.arcs),
  districts: shared.objects.districts.geometries.map((geometry) => {
    const area = feature(shared, geometry).geometry;
    const { at, clearance } = labelPoint(area);
    const rings = geometry.type === 'Polygon' ? geometry.arcs : geometry.arcs.flat();
    return [geometry.properties.name, at[0], at[1], clearance, rings];
  }),
});
console.log(
  `districts=${districts.features.length} outline=${country.type} arcs=${shared.arcs.length}`,
);
