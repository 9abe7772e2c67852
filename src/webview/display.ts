/** The page of the display view: draws what the extension sends, and sends it the keys pressed. Runs in the webview. */
import type { ScreenUpdate } from '../wire';
import { cellColours, pixelBytes } from './drawing';

interface Host {
  postMessage(message: unknown): void;
}
declare function acquireVsCodeApi(): Host;

/** Size of a character cell, as of the VGA's text modes. */
const CELL = { width: 9, height: 16 };
const BLINK_MS = 266;

const host = acquireVsCodeApi();
const canvas = document.querySelector('canvas')!;
const status = document.querySelector('output')!;
const context = canvas.getContext('2d', { alpha: false })!;
const held = new Set<string>();
let text: Extract<ScreenUpdate, { kind: 'text' }> | undefined;
let visiblePhase = true;

function resize(width: number, height: number): void {
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
  canvas.style.aspectRatio = `${width} / ${height}`;
}

function drawText(): void {
  if (!text) return;
  const { columns, rows, palette, blink, cursor } = text;
  const scale = 2;
  resize(columns * CELL.width * scale, rows * CELL.height * scale);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.font = `${CELL.height - 2}px ${getComputedStyle(document.body).getPropertyValue('--vscode-editor-font-family') || 'monospace'}`;
  context.textBaseline = 'alphabetic';
  const attributes = pixelBytes(text.attributes);
  for (let at = 0; at < columns * rows; at++) {
    const [x, y] = [(at % columns) * CELL.width, Math.floor(at / columns) * CELL.height];
    const { foreground, background, hidden } = cellColours(attributes[at], palette, blink, visiblePhase);
    context.fillStyle = background;
    context.fillRect(x, y, CELL.width, CELL.height);
    const character = text.text[at];
    if (hidden || character === ' ') continue;
    context.fillStyle = foreground;
    context.fillText(character, x, y + CELL.height - 4, CELL.width);
  }
  if (cursor && visiblePhase) {
    context.fillStyle = cellColours(attributes[cursor.row * columns + cursor.column], palette, blink, true).foreground;
    context.fillRect(cursor.column * CELL.width, cursor.row * CELL.height + CELL.height - 2, CELL.width, 2);
  }
}

function show(update: ScreenUpdate): void {
  if (update.kind === 'text') {
    text = update;
    drawText();
  } else if (update.kind === 'graphics') {
    text = undefined;
    resize(update.width, update.height);
    for (const { line, pixels } of update.bands) {
      const bytes = new Uint8ClampedArray(pixelBytes(pixels));
      context.putImageData(new ImageData(bytes, update.width), 0, line);
    }
  }
}

function key(event: KeyboardEvent, down: boolean): void {
  // Ctrl+Alt gives the keyboard back to the editor.
  if (event.ctrlKey && event.altKey) {
    if (down) canvas.blur();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
  if (down) held.add(event.code);
  else held.delete(event.code);
  host.postMessage({ type: 'key', code: event.code, down });
}

canvas.addEventListener('keydown', (event) => key(event, true));
canvas.addEventListener('keyup', (event) => key(event, false));
// Keys that are let go elsewhere must not stay down in the guest.
canvas.addEventListener('blur', () => {
  for (const code of held) host.postMessage({ type: 'key', code, down: false });
  held.clear();
  document.body.classList.remove('captured');
});
canvas.addEventListener('focus', () => document.body.classList.add('captured'));
setInterval(() => {
  visiblePhase = !visiblePhase;
  drawText();
}, BLINK_MS);

window.addEventListener(
  'message',
  ({ data }: MessageEvent<{ type: string; update?: ScreenUpdate; status?: string }>) => {
    if (data.update) show(data.update);
    if (data.status !== undefined) status.textContent = data.status;
  },
);
host.postMessage({ type: 'ready' });
