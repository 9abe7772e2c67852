/** The canvas: draws what the extension sends, and makes it as large and as sharp as there is room. */
import type { ScreenUpdate } from '../wire';
import { cellColours, changedCells, fit, pixelBytes, textPicture, type TextPicture, type TextUpdate } from './drawing';

/** Proportions of a character cell, as of the VGA's text modes. */
const CELL = { width: 9, height: 16 };
const BLINK_MS = 266;

export class Picture {
  private readonly context: CanvasRenderingContext2D;
  private text: TextUpdate | undefined;
  /** What is on the canvas. */
  private shown: TextPicture | undefined;
  private phase = true;
  /** Device pixels that a cell has. */
  private cell = CELL;
  /** Size in the guest's pixels, for graphics. */
  private size: { width: number; height: number } | undefined;
  private font = '';
  /** The guest has not drawn anything that is seen. */
  blank = true;

  /** @param room the element whose size the picture may take */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly room: HTMLElement,
  ) {
    this.context = canvas.getContext('2d', { alpha: false })!;
    new ResizeObserver(() => this.layOut()).observe(room);
    setInterval(() => {
      this.phase = !this.phase;
      this.drawText();
    }, BLINK_MS);
  }

  show(update: ScreenUpdate): void {
    if (update.kind === 'text') {
      const anew = this.text?.columns !== update.columns || this.text.rows !== update.rows;
      this.text = update;
      this.size = undefined;
      this.blank = update.text.trim() === '';
      if (anew) this.layOut();
      else this.drawText();
    } else if (update.kind === 'graphics') {
      const { width, height } = update;
      const anew = this.text || this.size?.width !== width || this.size.height !== height;
      this.text = this.shown = undefined;
      this.size = { width, height };
      if (anew) {
        this.blank = true;
        Object.assign(this.canvas, this.size);
        this.layOut();
      }
      for (const { line, pixels } of update.bands) {
        const bytes = new Uint8ClampedArray(pixelBytes(pixels));
        this.blank &&= new Uint32Array(bytes.buffer).every((pixel) => (pixel & 0xffffff) === 0);
        this.context.putImageData(new ImageData(bytes, width), 0, line);
      }
    }
  }

  /** How many of the guest's pixels one CSS pixel is, for the mouse. */
  get guestPixels(): number {
    const width = this.size?.width ?? (this.text ? this.text.columns * CELL.width : 0);
    return width / (this.canvas.clientWidth || width || 1);
  }

  private layOut(): void {
    const ratio = devicePixelRatio;
    const roomWidth = this.room.clientWidth * ratio;
    const roomHeight = this.room.clientHeight * ratio;
    let width: number;
    let height: number;
    if (this.size) {
      const scale = fit(this.size.width, this.size.height, roomWidth, roomHeight);
      width = this.size.width * scale;
      height = this.size.height * scale;
      this.canvas.style.imageRendering = scale >= 1 ? 'pixelated' : 'auto';
    } else if (this.text) {
      // Characters are drawn at the size that they have on the screen, so that they are as sharp as the editor's.
      const { columns, rows } = this.text;
      const lines = Math.floor(
        Math.min(roomHeight / rows, (roomWidth / columns / CELL.width) * CELL.height, 2 * CELL.height * ratio),
      );
      this.cell = { height: Math.max(6, lines), width: Math.max(4, Math.round((lines * CELL.width) / CELL.height)) };
      width = this.cell.width * columns;
      height = this.cell.height * rows;
      Object.assign(this.canvas, { width, height });
      this.canvas.style.imageRendering = 'auto';
      this.font = `${Math.round(this.cell.height * 0.82)}px ${editorFont()}`;
      this.shown = undefined;
      this.drawText();
    } else return;
    this.canvas.style.width = `${width / ratio}px`;
    this.canvas.style.height = `${height / ratio}px`;
  }

  private drawText(): void {
    if (!this.text) return;
    const next = textPicture(this.text, this.phase);
    const { context, cell } = this;
    const thickness = Math.max(1, Math.round(cell.height / 8));
    context.font = this.font;
    context.textBaseline = 'alphabetic';
    for (const at of changedCells(this.shown, next)) {
      const x = (at % next.columns) * cell.width;
      const y = Math.floor(at / next.columns) * cell.height;
      const { foreground, background, hidden } = cellColours(next.attributes[at], next.palette, next.blink, next.phase);
      context.save();
      context.beginPath();
      context.rect(x, y, cell.width, cell.height);
      context.clip(); // a character wider than its cell must not leave a trace in the next
      context.fillStyle = background;
      context.fillRect(x, y, cell.width, cell.height);
      context.fillStyle = foreground;
      if (!hidden && next.text[at] !== ' ')
        context.fillText(next.text[at], x, y + Math.round(cell.height * 0.78), cell.width);
      if (at === next.cursor && next.phase) context.fillRect(x, y + cell.height - thickness, cell.width, thickness);
      context.restore();
    }
    this.shown = next;
  }
}

function editorFont(): string {
  return getComputedStyle(document.body).getPropertyValue('--vscode-editor-font-family') || 'monospace';
}
