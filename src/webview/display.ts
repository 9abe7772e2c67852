/** The page of the display view: shows what the extension sends, and sends it keys and what the mouse does. Runs in the webview. */
import type { DisplayMessage, PageMessage } from './messages';
import { Picture } from './picture';
import { PointerQueue } from './pointer';

interface Host {
  postMessage(message: PageMessage): void;
}
declare function acquireVsCodeApi(): Host;

/** Milliseconds for which the mouse's motion is gathered. */
const POINTER_MS = 16;
/** A notch of the wheel as most browsers count it, in pixels. */
const NOTCH = 100;

const host = acquireVsCodeApi();
const canvas = document.querySelector('canvas')!;
const status = document.querySelector('output')!;
const picture = new Picture(canvas, document.querySelector('main')!);
const held = new Set<string>();
const pointer = new PointerQueue();
let running = false;
let statusText = '';
/** The guest listens to its mouse and has it: by pointer lock or, where the browser gives none, while it is over the picture. */
let hasMouse = false;
let pointerTimer: ReturnType<typeof setTimeout> | undefined;

function updateStatus(): void {
  const captured = document.activeElement === canvas;
  document.body.classList.toggle('captured', captured);
  const what = hasMouse ? 'keyboard and mouse' : 'the keyboard';
  status.textContent =
    captured && running ? `The guest has ${what}; Ctrl+Alt gives ${hasMouse ? 'them' : 'it'} back.` : statusText;
}

// ---- keyboard ------------------------------------------------------------------------------------------------------

function key(event: KeyboardEvent, down: boolean): void {
  // Ctrl+Alt gives keyboard and mouse back to the editor.
  if (event.ctrlKey && event.altKey) {
    if (down) canvas.blur();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
  if (down && !running) return;
  if (down) held.add(event.code);
  else if (!held.delete(event.code)) return;
  host.postMessage({ type: 'key', code: event.code, down });
}

/** Keys and buttons that are let go elsewhere must not stay down in the guest. */
function release(): void {
  for (const code of held) host.postMessage({ type: 'key', code, down: false });
  held.clear();
  releaseMouse();
  updateStatus();
}

canvas.addEventListener('keydown', (event) => key(event, true));
canvas.addEventListener('keyup', (event) => key(event, false));
canvas.addEventListener('blur', release);
canvas.addEventListener('focus', updateStatus);

// ---- mouse ---------------------------------------------------------------------------------------------------------

function sendPointer(): void {
  clearTimeout(pointerTimer);
  pointerTimer = undefined;
  const changes = pointer.takeAll();
  if (changes.length > 0) host.postMessage({ type: 'pointer', changes });
}

function releaseMouse(): void {
  if (!hasMouse) return;
  hasMouse = false;
  pointer.press(0);
  sendPointer();
  if (document.pointerLockElement) document.exitPointerLock();
  updateStatus();
}

function grabMouse(): void {
  hasMouse = true;
  updateStatus();
  // Without a lock, the guest has the mouse while it is over the picture.
  Promise.resolve(canvas.requestPointerLock()).catch(() => undefined);
}

canvas.addEventListener('mousedown', (event) => {
  if (!hasMouse) {
    // The click that takes the mouse is not the guest's.
    if (running) host.postMessage({ type: 'grab' });
    return;
  }
  event.preventDefault();
});
for (const type of ['mousedown', 'mouseup'] as const) {
  canvas.addEventListener(type, (event) => {
    if (!hasMouse) return;
    pointer.press(event.buttons & 31);
    sendPointer();
  });
}
canvas.addEventListener('mousemove', (event) => {
  if (!hasMouse) return;
  const scale = picture.guestPixels;
  pointer.move(event.movementX * scale, event.movementY * scale);
  pointerTimer ??= setTimeout(sendPointer, POINTER_MS);
});
canvas.addEventListener(
  'wheel',
  (event) => {
    if (!hasMouse) return;
    event.preventDefault();
    pointer.move(0, 0, event.deltaMode === event.DOM_DELTA_PIXEL ? event.deltaY / NOTCH : Math.sign(event.deltaY));
    pointerTimer ??= setTimeout(sendPointer, POINTER_MS);
  },
  { passive: false },
);
canvas.addEventListener('contextmenu', (event) => event.preventDefault());
document.addEventListener('pointerlockchange', () => {
  // Escape, or another window: the browser has taken the lock away.
  if (!document.pointerLockElement) releaseMouse();
});

// ---- what the extension says ---------------------------------------------------------------------------------------

window.addEventListener('message', ({ data }: MessageEvent<DisplayMessage>) => {
  if (data.type === 'grabbed') {
    if (document.activeElement === canvas && running) grabMouse();
    return;
  }
  running = data.state === 'running';
  statusText = data.status;
  if (data.update) picture.show(data.update);
  const { classList } = document.body;
  classList.toggle('none', data.update?.kind === 'none');
  classList.toggle('ended', data.state === 'ended');
  classList.toggle('blank', picture.blank && running);
  if (!running) releaseMouse();
  updateStatus();
});
host.postMessage({ type: 'ready' });
