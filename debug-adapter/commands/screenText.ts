/** `info screen`: the characters of a text screen. */
import type { Screen } from '../target';

export function screenText(screen: Screen | undefined): string {
  if (!screen) return 'the machine has no display';
  if (screen.kind === 'graphics') {
    return `a framebuffer of ${screen.width} x ${screen.height} pixels: "Ringside: Show Display" in the editor shows it`;
  }
  const { text, rows, columns } = screen;
  const lines = Array.from({ length: rows }, (_, row) => text.slice(row * columns, (row + 1) * columns).trimEnd());
  return lines.join('\n').trimEnd() || 'the screen is empty';
}
