/**
 * Fingers, mouse, wheel and keys on the map.
 *
 * In:    events of the canvas.
 * Out:   changes of the camera; `touched` when the person takes over from follow mode.
 */
import type { Camera } from './camera.ts';

export interface GestureHandlers {
  touched(): void;
  changed(): void;
  glideZoom(by: number, x: number, y: number): void;
  follow(): void;
}

const KEY_PAN_PX = 60;
const WHEEL_ZOOM_PER_PX = 1 / 240;
const DOUBLE_TAP_MS = 320;

export function listen(canvas: HTMLCanvasElement, camera: Camera, on: GestureHandlers): void {
  listenPointers(canvas, camera, on);
  canvas.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      const { left, top } = canvas.getBoundingClientRect();
      const px = event.deltaY * (event.deltaMode === 1 ? 24 : 1) * (event.ctrlKey ? 3 : 1);
      on.touched();
      camera.zoomAt(
        camera.zoom - px * WHEEL_ZOOM_PER_PX,
        event.clientX - left,
        event.clientY - top,
      );
      on.changed();
    },
    { passive: false },
  );
  canvas.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key(event.key, camera, on)) event.preventDefault();
  });
}

function key(name: string, camera: Camera, on: GestureHandlers): boolean {
  const pan = PANS[name];
  const [x, y] = camera.middle();
  if (pan) {
    on.touched();
    camera.panBy(pan[0] * KEY_PAN_PX, pan[1] * KEY_PAN_PX);
    on.changed();
  } else if (name === '+' || name === '=') on.glideZoom(1, x, y);
  else if (name === '-' || name === '_') on.glideZoom(-1, x, y);
  else if (name === 'f' || name === 'F') on.follow();
  else return false;
  return true;
}

const PANS: Record<string, [number, number] | undefined> = {
  ArrowLeft: [1, 0],
  ArrowRight: [-1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

function listenPointers(canvas: HTMLCanvasElement, camera: Camera, on: GestureHandlers): void {
  const held = new Map<number, { x: number; y: number }>();
  let tappedAt = -Infinity;
  let dragged = 0;
  const place = (event: PointerEvent): { x: number; y: number } => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, place(event));
    dragged = 0;
  });
  canvas.addEventListener('pointermove', (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    dragged += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    held.set(event.pointerId, now);
    // A trembling finger is a tap, not a drag.
    if (dragged < 4 && !other) return;
    on.touched();
    if (other) pinch(camera, before, now, other);
    else camera.panBy(now.x - before.x, now.y - before.y);
    on.changed();
  });
  const release = (event: PointerEvent): void => {
    if (!held.delete(event.pointerId) || dragged >= 4 || event.type === 'pointercancel') return;
    const { x, y } = place(event);
    if (event.timeStamp - tappedAt < DOUBLE_TAP_MS) on.glideZoom(event.shiftKey ? -1 : 1, x, y);
    tappedAt = event.timeStamp;
  };
  canvas.addEventListener('pointerup', release);
  canvas.addEventListener('pointercancel', release);
}

interface Spot {
  x: number;
  y: number;
}

function pinch(camera: Camera, before: Spot, now: Spot, other: Spot): void {
  const was = Math.hypot(before.x - other.x, before.y - other.y);
  const is = Math.hypot(now.x - other.x, now.y - other.y);
  camera.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
  if (was > 10 && is > 10) {
    camera.zoomAt(camera.zoom + Math.log2(is / was), (now.x + other.x) / 2, (now.y + other.y) / 2);
  }
}
