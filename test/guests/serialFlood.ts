/** What the guest serialFlood prints, as its source says: 1,280,000 bytes. */
export function flood(): string {
  let text = '';
  for (let i = 0; i < 20_000; i++) {
    const line = `${i.toString(16).padStart(8, '0')} naïve 漢字 😀 `;
    text += `${line}${'.'.repeat(62 - Buffer.byteLength(line))}\r\n`;
  }
  return text;
}
