/** Code page 437, the character set of PC displays. IBM, "Code Page 00437". */

/** Graphic characters: 00h-1Fh, 7Fh and 80h-FFh. */
const CP437_LOW = ' ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼';
const CP437_HIGH =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀' +
  'αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ';

/** The character of a code, as the VGA's font shows it. 00h is blank. */
export function character(code: number): string {
  if (code < 0x20) return CP437_LOW[code];
  if (code < 0x7f) return String.fromCharCode(code);
  return code === 0x7f ? '⌂' : CP437_HIGH[code - 0x80];
}
