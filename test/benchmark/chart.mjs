/** The results of npm run bench as a picture: a bar a row that is compared with something, with its goal; SVG, for a light and a dark page. */

const [left, width, right, rowHeight, top] = [190, 420, 330, 22, 62];
/** The scale is logarithmic: from a hundredth to a hundred times. */
const [low, high] = [-2, 2];

const escaped = (text) =>
  String(text).replace(
    /[&<>"]/g,
    (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character],
  );
const short = (value) =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : Number(value.toPrecision(3)).toString();
const place = (ratio) => {
  const exponent = Math.min(high, Math.max(low, Math.log10(ratio)));
  return left + ((exponent - low) / (high - low)) * width;
};

const style = `
  svg { --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; --good: #1a7f37; --bad: #cf222e; --plain: #57606a }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --paper: #0d1117; --good: #3fb950; --bad: #f85149; --plain: #8b949e }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink) }
  .soft { fill: var(--soft) } .title { font-size: 15px; font-weight: 600 } .end { text-anchor: end } .middle { text-anchor: middle }
  .paper { fill: var(--paper) } .grid { stroke: var(--line) } .one { stroke: var(--soft) } .goal { stroke: var(--ink); stroke-width: 2 }
  .reached { fill: var(--good) } .missed { fill: var(--bad) } .none { fill: var(--plain) }`;

function bar(result, y) {
  const middle = y + rowHeight / 2 + 4;
  const name = `<text class="end" x="${left - 10}" y="${middle}">${escaped(result.name)}</text>`;
  const beside = (text) => `<text class="soft" x="${left + width + 12}" y="${middle}">${escaped(text)}</text>`;
  const why = result.error ?? result.skipped;
  if (why !== undefined) {
    const text = `${result.error ? 'failed' : 'skipped'}: ${why.length > 110 ? `${why.slice(0, 110)}...` : why}`;
    return `${name}<text class="soft" x="${left + 6}" y="${middle}">${escaped(text)}</text>`;
  }
  const one = place(1);
  const end = place(result.ratio);
  const kind = result.reached === undefined ? 'none' : result.reached ? 'reached' : 'missed';
  const [x, length] = [Math.min(one, end), Math.max(1, Math.abs(end - one))];
  const parts = [
    name,
    `<rect class="${kind}" x="${x.toFixed(1)}" y="${y + 4}" width="${length.toFixed(1)}" height="${rowHeight - 8}" rx="2"/>`,
  ];
  if (result.mark !== undefined) {
    const at = place(result.mark).toFixed(1);
    parts.push(`<line class="goal" x1="${at}" x2="${at}" y1="${y + 1}" y2="${y + rowHeight - 1}"/>`);
  }
  parts.push(beside(result.label));
  return parts.join('');
}

/**
 * What of a result can be drawn: ratios as they are, other results beside their goals. What should be small is turned round.
 * @returns {object | undefined} the result with `ratio`, `mark` (the goal on the same scale) and `label`
 */
function drawable(result) {
  if (result.error ?? result.skipped) return result;
  const { value, unit, goal } = result;
  const isRatio = /^(of|times) /.test(unit);
  if (value === undefined || !(isRatio || goal)) return undefined;
  const bound = goal?.atLeast ?? goal?.atMost;
  const small = goal?.atMost !== undefined;
  const label = `${short(value)} ${unit}${goal ? `, goal ${small ? '≤' : '≥'} ${short(bound)}` : ''}`;
  const turned = (number) => (small ? 1 / number : number);
  const scale = isRatio ? 1 : bound;
  return { ...result, ratio: turned(value / scale), mark: goal && turned(bound / scale), label };
}

/**
 * Draws results.
 * @param {{ cpu?: string, cpus: number, node: string, load: number[], date: string }} machine
 * @param {readonly object[]} results as in bench.json
 * @returns {string} SVG
 */
export function chart(machine, results) {
  const rows = results.map(drawable).filter((row) => row !== undefined);
  const height = top + rows.length * rowHeight + 34;
  const bottom = top + rows.length * rowHeight;
  const ticks = [];
  for (let exponent = low; exponent <= high; exponent++) {
    const x = place(10 ** exponent).toFixed(1);
    ticks.push(
      `<line class="${exponent ? 'grid' : 'one'}" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}"/>`,
      `<text class="soft middle" x="${x}" y="${top - 6}">${10 ** exponent}×</text>`,
    );
  }
  const about = `${machine.cpu ?? 'unknown processor'}, ${machine.cpus} CPUs, Node ${machine.node}, load ${machine.load.map((one) => one.toFixed(1)).join(' to ')}, ${machine.date}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${left + width + right} ${height}" role="img">`,
    `<title>Ringside's benchmarks</title><style>${style}</style>`,
    `<rect class="paper" width="100%" height="100%"/>`,
    `<text class="title" x="12" y="24">Speed as a multiple of the peer's, or a result as a multiple of its goal: further right is better</text>`,
    ...ticks,
    ...rows.map((row, index) => bar(row, top + index * rowHeight)),
    `<text class="soft" x="12" y="${bottom + 22}">Upright mark: the goal. ${escaped(about)}</text>`,
    '</svg>',
    '',
  ].join('\n');
}
