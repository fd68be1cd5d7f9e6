// JSON with its numbers as they were written: 1, 1.0 and 12345678901234567890 stay themselves, which JSON.parse alone would not keep.

/** A number as it stands in the answer's text. */
export class Literal {
  constructor(text) {
    this.text = text;
  }
  get type() {
    return /[.eE]/.test(this.text) ? "float" : "integer";
  }
  toString() {
    return this.text;
  }
}

// Strings are matched first, so that digits inside them are left alone.
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Parse JSON; every number becomes a `Literal`. Throws SyntaxError where the text is not JSON. */
export function parseExactly(text) {
  // Numbers travel through JSON.parse as marked strings; the mark is drawn anew so that no value from outside can carry it.
  const mark = [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join("-");
  const marked = text.replace(TOKENS, (token) => (token[0] === '"' ? token : `"${mark}${token}"`));
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(mark) ? new Literal(value.slice(mark.length)) : value,
  );
}

/** Plain numbers again, for places that calculate. */
export function number(value) {
  if (value instanceof Literal) return Number(value.text);
  return typeof value === "number" ? value : NaN;
}
