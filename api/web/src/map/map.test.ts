import { describe, expect, it } from 'vitest';
import data from '../assets/rwanda-map.json';
import districts from '../assets/rwanda-districts.json';
import { distanceM, fromLocal } from '../lib/geo.ts';
import { decode, districtAt, type MapData } from './borders.ts';
import { Camera, blend } from './camera.ts';
import { Motion, type MotionFix } from './motion.ts';
import { Trail } from './trail.ts';

const home = { lat: -1.9441, lon: 30.0619 };

/** Due east at 10 m/s, one fix every `every` seconds; `east` at second `s` is 10 s. */
function eastward(s: number): MotionFix {
  return {
    ...fromLocal(home, s * 10, 0),
    at_ms: 1_000_000 + s * 1000,
    speed_mps: 10,
    bearing_deg: 90,
    accuracy_m: 5,
  };
}

describe('the moving vehicle', () => {
  it('runs evenly between fixes, one interval behind, and never jumps', () => {
    const motion = new Motion(() => false);
    let before: { lat: number; lon: number } | null = null;
    let fastest = 0;
    for (let ms = 0; ms <= 60_000; ms += 100) {
      if (ms % 5000 === 0) motion.push(eastward(ms / 1000), ms + 300);
      const pose = motion.at(ms + 300);
      if (pose && before && ms > 15_000) fastest = Math.max(fastest, distanceM(before, pose) / 0.1);
      before = pose;
    }
    expect(fastest).toBeGreaterThan(9);
    expect(fastest).toBeLessThan(12);
    expect(distanceM(before ?? home, eastward(60 - 5.5))).toBeLessThan(12);
    expect(motion.at(60_400)?.bearing_deg).toBeCloseTo(90, 0);
  });

  it('rolls on when the next fix is late, slows down, and then holds', () => {
    const motion = new Motion(() => false);
    motion.push(eastward(0), 0);
    motion.push(eastward(5), 5000);
    const rolled = motion.at(14_000);
    for (let ms = 14_000; ms < 40_000; ms += 100) motion.at(ms);
    const held = motion.at(40_000);
    expect(rolled?.moving).toBe(true);
    expect(distanceM(held ?? home, eastward(5))).toBeLessThanOrEqual(80);
    expect(held?.moving).toBe(false);
  });

  it('glides into a correction', () => {
    const motion = new Motion(() => false);
    motion.push(eastward(0), 0);
    motion.push(eastward(5), 5000);
    for (let ms = 5000; ms < 12_000; ms += 50) motion.at(ms);
    const before = motion.at(12_000) ?? home;
    motion.push({ ...eastward(12), ...fromLocal(home, 60, 60) }, 12_000);
    const after = motion.at(12_016) ?? home;
    expect(distanceM(before, after)).toBeLessThan(8);
  });

  it('ignores an older fix and a repeated one', () => {
    const motion = new Motion(() => false);
    expect(motion.push(eastward(5), 5000)).toBe(true);
    expect(motion.push(eastward(3), 5100)).toBe(false);
    expect(motion.push(eastward(5), 5200)).toBe(false);
  });

  it('turns the short way and does not spin while standing', () => {
    const motion = new Motion(() => false);
    const still = (s: number, bearing: number): MotionFix => ({
      ...home,
      at_ms: s * 1000,
      speed_mps: 0,
      bearing_deg: bearing,
      accuracy_m: 5,
    });
    motion.push(still(0, 10), 0);
    motion.at(100);
    motion.push(still(5, 200), 5000);
    for (let ms = 5000; ms < 9000; ms += 50) motion.at(ms);
    expect(motion.at(9000)?.bearing_deg).toBeCloseTo(10, 0);
    expect(motion.at(20_000)?.moving).toBe(false);
  });

  it('makes no loop of a wild speed between two near fixes', () => {
    const motion = new Motion(() => false);
    motion.push({ ...eastward(0), speed_mps: 50, bearing_deg: 270 }, 0);
    motion.push(
      { ...eastward(5), ...fromLocal(home, 20, 0), bearing_deg: 270, speed_mps: 50 },
      5000,
    );
    for (let ms = 5000; ms < 10_500; ms += 50) {
      expect(distanceM(home, motion.at(ms) ?? home)).toBeLessThan(60);
    }
  });

  it('stands on the last fix when motion is unwelcome', () => {
    const motion = new Motion(() => true);
    motion.push(eastward(0), 0);
    motion.push(eastward(5), 5000);
    expect(distanceM(motion.at(5000) ?? home, eastward(5))).toBe(0);
    expect(motion.at(5000)?.moving).toBe(false);
  });
});

describe('the route so far', () => {
  it('leaves a gap open', () => {
    const trail = new Trail();
    [0, 5, 10, 400, 405].forEach((s) => trail.push(eastward(s)));
    expect(trail.lines().map((line) => line.length)).toEqual([3, 2]);
  });

  it('stays within its bound and keeps both ends', () => {
    const trail = new Trail();
    for (let s = 0; s < 5000; s += 1) trail.push(eastward(s));
    expect(trail.all().length).toBeLessThanOrEqual(600);
    expect(trail.all()[0]?.at_ms).toBe(eastward(0).at_ms);
    expect(trail.all().at(-1)?.at_ms).toBe(eastward(4999).at_ms);
  });

  it('takes in the route of before, in order, once', () => {
    const trail = new Trail([eastward(20), eastward(25)]);
    trail.merge([eastward(0), eastward(5), eastward(20)]);
    expect(trail.all().map(({ at_ms }) => at_ms)).toEqual(
      [0, 5, 20, 25].map((s) => eastward(s).at_ms),
    );
  });

  it('does not pile up points of a vehicle that stands', () => {
    const trail = new Trail();
    for (let s = 0; s < 100; s += 1) trail.push({ ...home, at_ms: s });
    expect(trail.all()).toHaveLength(1);
  });
});

describe('the camera', () => {
  const camera = new Camera();
  camera.width = 360;
  camera.height = 400;
  camera.padding = { top: 60, right: 0, bottom: 40, left: 0 };

  it('goes to the screen and back', () => {
    const p = camera.point(120, 130);
    const [x, y] = camera.screen(p);
    expect([x, y].map(Math.round)).toEqual([120, 130]);
  });

  it('fits points into the free part', () => {
    const points = [home, { lat: -1.97, lon: 30.12 }];
    camera.look(camera.fit(points, 30, 17));
    points.forEach((p) => expect(camera.holds(p, 29)).toBe(true));
  });

  it('keeps the place under the finger while zooming', () => {
    const before = camera.point(100, 300);
    camera.zoomAt(camera.zoom + 1, 100, 300);
    expect(distanceM(before, camera.point(100, 300))).toBeLessThan(0.01);
  });

  it('blends from one end to the other', () => {
    const a = { x: 0, y: 0, zoom: 8 };
    const b = { x: 1, y: 1, zoom: 12 };
    expect(blend(a, b, 0)).toEqual(a);
    expect(blend(a, b, 1)).toEqual(b);
  });
});

describe('the districts', () => {
  const borders = decode(data as unknown as MapData);

  it('are thirty, with one unbroken outline', () => {
    expect(borders.districts).toHaveLength(30);
    expect(borders.borders.some((b) => b.outer)).toBe(true);
    for (const { rings } of borders.districts) {
      for (const ring of rings) {
        expect([ring[0], ring[1]]).toEqual([ring.at(-2), ring.at(-1)]);
      }
    }
  });

  it('know where places are', () => {
    const places: [string, number, number][] = [
      ['Nyarugenge', -1.9441, 30.0619],
      ['Musanze', -1.49984, 29.63497],
      ['Huye', -2.59667, 29.73944],
      ['Rubavu', -1.70278, 29.25639],
      ['Rwamagana', -1.9487, 30.4347],
    ];
    for (const [name, lat, lon] of places) expect(districtAt(borders, { lat, lon })).toBe(name);
    expect(districtAt(borders, { lat: -1.2, lon: 36.8 })).toBeNull();
  });

  it('cover the country once: neighbours share each edge, and no ring crosses itself', () => {
    const edges = new Map<string, number>();
    for (const { geometry } of districts.features) {
      for (const ring of geometry.coordinates as unknown as [number, number][][]) {
        for (let i = 0; i + 1 < ring.length; i += 1) {
          const key = [String(ring[i]), String(ring[i + 1])].sort().join(' ');
          edges.set(key, (edges.get(key) ?? 0) + 1);
        }
        expect(crossings(ring)).toBe(0);
      }
    }
    expect([...edges.values()].every((n) => n === 1 || n === 2)).toBe(true);
  });
});

function crossings(ring: [number, number][]): number {
  const side = (a: number[], b: number[], c: number[]): number =>
    Math.sign(
      ((b[0] ?? 0) - (a[0] ?? 0)) * ((c[1] ?? 0) - (a[1] ?? 0)) -
        ((b[1] ?? 0) - (a[1] ?? 0)) * ((c[0] ?? 0) - (a[0] ?? 0)),
    );
  let found = 0;
  for (let i = 0; i + 1 < ring.length; i += 1) {
    for (let j = i + 2; j + 1 < ring.length; j += 1) {
      const [a, b, c, d] = [ring[i], ring[i + 1], ring[j], ring[j + 1]];
      if (!a || !b || !c || !d) continue;
      if (side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0) found += 1;
    }
  }
  return found;
}
