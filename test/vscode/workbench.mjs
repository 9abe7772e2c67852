/**
 * VS Code's workbench as a user sees it, through Playwright: finds things by their accessible names, which hold over
 * versions. Selectors were tried with VS Code 1.100 and 1.139.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { artifacts } from '../../scripts/lib/project.mjs';

const quote = (text) => JSON.stringify(text);

export class Workbench {
  /** @param {import('playwright-core').Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Opens the address of a server and waits until the editor part is there. */
  async open(url) {
    await this.page.goto(url);
    await this.page.locator('.monaco-workbench .part.editor').waitFor({ timeout: 60_000 });
    await this.page.locator('.monaco-workbench .part.statusbar').waitFor();
  }

  /** Saves what is on the screen as test/artifacts/NAME.png. */
  async screenshot(name) {
    mkdirSync(artifacts, { recursive: true });
    await this.page.screenshot({ path: path.join(artifacts, `${name}.png`) });
  }

  /** Types into the command palette or the file picker and takes the first result. */
  async #pick(key, text) {
    const input = this.page.locator('.quick-input-widget input.input');
    await this.page.keyboard.press(key);
    await input.waitFor({ timeout: 10_000 });
    await input.fill(text);
    await this.page.locator('.quick-input-list .monaco-list-row').first().waitFor();
    await this.page.waitForTimeout(300); // the list is filtered a moment after it is shown
    await this.page.keyboard.press('Enter');
  }

  /** Runs a command by its title in the palette, such as 'View: Close All Editors'. */
  command(title) {
    return this.#pick('F1', `>${title}`);
  }

  /** Opens a file of the workspace and waits for its language in the status bar. */
  async openFile(name, line) {
    await this.#pick('Control+p', line ? `${name}:${line}` : name);
    await this.page
      .locator(`.tab[aria-label^=${quote(path.basename(name))}]`)
      .first()
      .waitFor({ timeout: 20_000 });
    await this.page.locator('[id="status.editor.mode"]').waitFor({ timeout: 20_000 });
  }

  /** Shows the Run and Debug view. */
  async openDebugView() {
    await this.page.keyboard.press('Control+Shift+d');
    await this.page.locator('.pane-header[aria-label^="Variables"]').waitFor();
  }

  /** Presses F5 until the debug toolbar is there: a press before the extension is ready is lost. */
  async pressF5() {
    const toolbar = this.page.locator('.debug-toolbar');
    for (let attempt = 0; attempt < 10; attempt++) {
      await this.page.keyboard.press('F5');
      const seen = await toolbar.waitFor({ timeout: 4000 }).then(
        () => true,
        () => false,
      );
      if (seen) return;
    }
    throw new Error('ten presses of F5 started no debug session');
  }

  /** A button of the debug toolbar, by the beginning of its name: 'Continue', 'Step Into', 'Step Back', 'Reverse'. */
  button(name) {
    return this.page.locator(`.debug-toolbar .action-label[aria-label^=${quote(name)}]`);
  }

  /** Waits until the session is stopped: Continue is there and enabled, and the call stack has a frame. */
  async waitForStop() {
    await this.page.locator('.debug-toolbar .action-label[aria-label^="Continue"]:not(.disabled)').waitFor();
    await this.frames().first().waitFor();
  }

  /** Presses a button of the toolbar and waits for the stop that follows, seen by a change of `$icount` or of the frame. */
  async pressAndStop(name) {
    const before = await this.instructionPointer();
    await this.button(name).click();
    await this.restPointer();
    await this.until(async () => {
      await this.#reopenScope('Registers');
      return (await this.instructionPointer().catch(() => before)) !== before;
    }, `a stop after ${name}`);
    await this.waitForStop();
  }

  /** Opens a scope that is there and closed: after a run that took long the editor shows all of them closed. */
  async #reopenScope(name) {
    const row = this.variables().locator('.monaco-list-row[aria-level="1"][aria-expanded="false"]', { hasText: name });
    if (!(await row.count())) return;
    const twistie = row.first().locator('.monaco-tl-twistie');
    await twistie.click({ timeout: 2000 }).catch(() => undefined); // the guest may be running again
  }

  /** Polls a condition on the page, five times a second, for at most 30 s. */
  async until(condition, what) {
    for (let attempt = 0; attempt < 150; attempt++) {
      if (await condition()) return;
      await this.page.waitForTimeout(200);
    }
    throw new Error(`waited 30 s for ${what}`);
  }

  /** What the editor says below the line at which an exception, here a VM exit, stopped the session. */
  async exceptionText() {
    const widget = this.page.locator('.exception-widget');
    for (let attempt = 0; attempt < 4; attempt++) {
      const seen = await widget.waitFor({ timeout: 5000 }).then(
        () => true,
        () => false,
      );
      if (seen) return widget.innerText();
      // When the stop opens its file for the first time, VS Code may ask before the editor is there; a click asks again.
      await this.frames().nth(1).click();
      await this.frames().first().click();
    }
    throw new Error('the editor shows no exception');
  }

  /** Rows of the Call Stack view that are frames. */
  frames() {
    return this.page.locator('.monaco-list[aria-label="Debug Call Stack"] .monaco-list-row .stack-frame');
  }

  /** A view of the side bar by its title. */
  pane(title) {
    const header = this.page.locator(`.pane-header[aria-label^=${quote(title)}]`);
    return this.page.locator('.pane', { has: header });
  }

  /** Opens a view of the side bar. */
  async expandPane(title) {
    const header = this.page.locator(`.pane-header[aria-label^=${quote(title)}]`);
    await header.waitFor();
    if ((await header.getAttribute('aria-expanded')) !== 'true') await header.click();
  }

  /** Closes a view, so that the others get its room. */
  async collapsePane(title) {
    const header = this.page.locator(`.pane-header[aria-label^=${quote(title)}]`);
    if ((await header.count()) && (await header.getAttribute('aria-expanded')) === 'true') await header.click();
  }

  /** Rows of a tree in a view, as the text that a user reads. */
  async rows(title) {
    const rows = this.pane(title).locator('.monaco-list-row');
    await rows.first().waitFor();
    const texts = await rows.allInnerTexts();
    return texts.map((text) => text.replace(/\s+/g, ' ').trim());
  }

  /** Opens the first closed row of a view whose text matches. */
  async expandRow(title, pattern) {
    const row = this.pane(title).locator('.monaco-list-row[aria-expanded="false"]', { hasText: pattern }).first();
    await row.waitFor();
    await row.locator('.monaco-tl-twistie').click();
  }

  /**
   * Scrolls a list until a row is on the screen: lists hold only the rows that are seen.
   * @param list locator of the list; @param row locator of the row
   */
  async reveal(list, row) {
    if (await row.isVisible()) return row;
    // By keyboard: the wheel would go to the hover that VS Code shows where the pointer rests.
    await list.focus();
    await this.page.keyboard.press('Home');
    for (let page = 0; page < 60; page++) {
      await this.page.waitForTimeout(100);
      if (await row.isVisible()) return row;
      await this.page.keyboard.press('PageDown');
    }
    throw new Error(`no such row in the whole list: ${row}`);
  }

  async #drag(from, to) {
    await this.page.mouse.move(from.x, from.y);
    await this.page.mouse.down();
    await this.page.mouse.move(to.x, to.y, { steps: 5 });
    await this.page.mouse.up();
    await this.restPointer();
  }

  /** Puts the pointer where it causes no hover. */
  restPointer() {
    return this.page.mouse.move(900, 1000);
  }

  /** Makes the side bar wider by so many pixels. */
  async widenSideBar(pixels) {
    const box = await this.page.locator('.part.sidebar').boundingBox();
    const from = { x: box.x + box.width, y: box.y + box.height / 2 };
    await this.#drag(from, { x: from.x + pixels, y: from.y });
  }

  /** Drags the lower edge of an open view down (pixels), at the cost of the views below. */
  async growPane(title, pixels) {
    const box = await this.pane(title).boundingBox();
    const from = { x: box.x + box.width / 2, y: box.y + box.height };
    await this.#drag(from, { x: from.x, y: from.y + pixels });
  }

  variables() {
    return this.page.locator('.monaco-list[aria-label="Debug Variables"]');
  }

  /** The row of a variable or scope in the Variables view. */
  variable(name) {
    return this.variables()
      .locator(`.monaco-list-row[aria-label^=${quote(`${name}, value `)}]`)
      .first();
  }

  /** Opens a scope of the Variables view, such as 'Registers'. */
  async expandScope(name) {
    const row = this.variables().locator('.monaco-list-row[aria-level="1"]', { hasText: name }).first();
    await row.waitFor();
    if ((await row.getAttribute('aria-expanded')) !== 'true') await row.locator('.monaco-tl-twistie').click();
  }

  /** The value that the Variables view shows for a name. */
  async value(name) {
    const row = await this.reveal(this.variables(), this.variable(name));
    return (await row.getAttribute('aria-label')).slice(`${name}, value `.length);
  }

  /** rip as the Variables view shows it; the scope Registers must be open. */
  instructionPointer() {
    return this.value('rip');
  }

  /** Ticks or clears an exception filter in the Breakpoints view. */
  async setExceptionFilter(name, checked) {
    await this.expandPane('Breakpoints');
    const list = this.pane('Breakpoints').locator('.monaco-list');
    await list.waitFor();
    const row = await this.reveal(list, list.locator('.monaco-list-row', { hasText: name }).first());
    await row.locator('input[type="checkbox"], .monaco-checkbox').first().setChecked(checked);
  }
}
