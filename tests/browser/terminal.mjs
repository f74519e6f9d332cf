// A terminal's text with its colours (ECMA-48, "SGR") as HTML, for a picture of it.

const COLOURS = ["#6b7780", "#ff8f85", "#7fd6a3", "#e8c872", "#8db8ff", "#d3a6ff", "#62cdb8", "#d7dedd"];
const escape = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

/** Applies one number of an SGR sequence to the style. */
function apply(style, code) {
  if (code === 0) return {};
  if (code === 1) return { ...style, "font-weight": 600 };
  if (code === 2) return { ...style, opacity: 0.65 };
  if (code === 3) return { ...style, "font-style": "italic" };
  if (code === 4) return { ...style, "text-decoration": "underline" };
  if (code === 22) return { ...style, "font-weight": 400, opacity: 1 };
  if (code === 39) return { ...style, color: "inherit" };
  if (code >= 30 && code <= 37) return { ...style, color: COLOURS[code - 30] };
  if (code >= 90 && code <= 97) return { ...style, color: COLOURS[code - 90] };
  return style;
}

export function ansiToHtml(text) {
  let style = {};
  return text.split(/(\x1b\[[\d;]*[A-Za-z])/).map((part) => {
    const codes = /^\x1b\[([\d;]*)m$/.exec(part);
    if (codes) for (const code of codes[1].split(";")) style = apply(style, Number(code));
    if (part.startsWith("\x1b") || !part) return "";
    const css = Object.entries(style).map(([name, value]) => `${name}:${value}`).join(";");
    return css ? `<span style="${css}">${escape(part)}</span>` : escape(part);
  }).join("");
}
