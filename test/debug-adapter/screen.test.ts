/** What goes to the display view: only what has changed, in pieces. */
import assert from 'node:assert';
import { screenText } from '../../debug-adapter/commands/screenText';
import { fromBase64 } from '../../debug-adapter/memoryReference';
import { ScreenChanges } from '../../debug-adapter/screen';
import type { Screen } from '../../debug-adapter/target';

function textScreen(text: string): Screen {
  const padded = text.padEnd(2000, ' ');
  const attributes = new Uint8Array(2000).fill(7);
  return { kind: 'text', columns: 80, rows: 25, text: padded, attributes, blink: true, palette: [] };
}

function graphics(width: number, height: number): Extract<Screen, { kind: 'graphics' }> {
  const pitch = width * 4 + 64;
  return { kind: 'graphics', width, height, pitch, pixels: new Uint8Array(pitch * height) };
}

describe('changes of the screen', () => {
  it('sends text once, and again when it has changed', () => {
    const changes = new ScreenChanges();
    const first = changes.update(textScreen('one'));
    assert.strictEqual(first.kind, 'text');
    assert.strictEqual(changes.update(textScreen('one'), first.version).kind, 'unchanged');
    assert.strictEqual(changes.update(textScreen('two'), first.version).kind, 'text');
  });

  it('starts anew for a client that has another version', () => {
    const changes = new ScreenChanges();
    const { version } = changes.update(textScreen('one'));
    assert.strictEqual(changes.update(textScreen('one'), version + 5).kind, 'text');
  });

  it('sends the lines of a picture that have changed, red first', () => {
    const changes = new ScreenChanges();
    const screen = graphics(320, 200);
    const first = changes.update(screen);
    assert.ok(first.kind === 'graphics' && !first.more);
    assert.deepStrictEqual(first.bands.map(({ line }) => line), [0]); // prettier-ignore
    assert.strictEqual(fromBase64(first.bands[0].pixels).length, 320 * 200 * 4);
    screen.pixels.set([1, 2, 3, 4], screen.pitch * 10 + 4);
    screen.pixels.set([1, 2, 3, 4], screen.pitch * 20);
    const second = changes.update(screen, first.version);
    assert.ok(second.kind === 'graphics');
    assert.deepStrictEqual(second.bands.map(({ line }) => line), [10, 20]); // prettier-ignore
    const bytes = fromBase64(second.bands[0].pixels);
    assert.deepStrictEqual([...bytes.subarray(0, 8)], [0, 0, 0, 255, 3, 2, 1, 255]);
  });

  it('looks at a huge picture in pieces, too, and finds the last pixel', () => {
    const changes = new ScreenChanges();
    const screen = graphics(1600, 1400);
    const whole = (since: number): { version: number; lines: number[] } => {
      const lines: number[] = [];
      for (let version = since, answers = 0; ; answers++) {
        assert.ok(answers < 200);
        const update = changes.update(screen, version);
        version = update.version;
        if (update.kind !== 'graphics') return { version, lines };
        for (const { line, pixels } of update.bands) {
          const count = fromBase64(pixels).length / 6400;
          for (let i = 0; i < count; i++) lines.push(line + i);
        }
        if (!update.more) return { version, lines };
      }
    };
    const first = whole(0);
    assert.deepStrictEqual(
      first.lines,
      Array.from({ length: 1400 }, (_, i) => i),
    );
    screen.pixels[screen.pitch * 1399 + 1599 * 4] = 1;
    assert.deepStrictEqual(whole(first.version).lines, [1399]);
    assert.strictEqual(changes.update(screen, first.version + 999).kind, 'graphics');
  });

  it('sends a large picture in pieces', () => {
    const changes = new ScreenChanges();
    const screen = graphics(1024, 768);
    let update = changes.update(screen);
    let lines = 0;
    let pieces = 0;
    for (; update.kind === 'graphics'; update = changes.update(screen, update.version)) {
      for (const { pixels } of update.bands) lines += fromBase64(pixels).length / 4096;
      pieces++;
      assert.strictEqual(update.more, lines < 768);
    }
    assert.strictEqual(update.kind, 'unchanged');
    assert.deepStrictEqual([lines, pieces], [768, 6]);
  });

  it('says that there is no display', () => {
    assert.strictEqual(new ScreenChanges().update(undefined).kind, 'none');
    assert.strictEqual(screenText(undefined), 'the machine has no display');
  });

  it('prints text without the blanks behind it', () => {
    assert.strictEqual(screenText(textScreen('one'.padEnd(80) + ' two')), 'one\n two');
    assert.strictEqual(screenText(textScreen('')), 'the screen is empty');
    assert.match(screenText(graphics(320, 200)), /320 x 200/);
  });
});
