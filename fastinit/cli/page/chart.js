"use strict";

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/* Bars for what is seen, a line for the law, in a box of that many pixels: both are densities over bins of equal width. */
function chart({ seen, law, low, high, width, height, label, axis = true }) {
  const foot = axis ? 18 : 0, tall = height - foot;
  const top = 1.06 * Math.max(...seen, ...(law || []), Number.MIN_VALUE);
  const bin = width / seen.length, y = (value) => (tall - (tall * value) / top).toFixed(2);
  const gap = bin > 4 ? 0.6 : 0;
  const bars = seen.map((value, k) => value > 0
    ? `M${(k * bin).toFixed(2)} ${tall}V${y(value)}h${(bin - gap).toFixed(2)}V${tall}z` : "").join("");
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  drawn.append(svg("path", { class: "seen", d: bars }));
  if (law) {
    const points = law.map((value, k) => `${((k + 0.5) * bin).toFixed(2)} ${y(value)}`);
    const ends = [`0 ${y(law[0])}`, ...points, `${width} ${y(law[law.length - 1])}`];
    drawn.append(svg("path", { class: "law", d: `M${ends.join("L")}` }));
  }
  if (axis) {
    drawn.append(svg("line", { class: "axis", x1: 0, x2: width, y1: tall, y2: tall }));
    const middle = low < 0 && high > 0 ? 0 : (low + high) / 2;
    const place = (value) => (width * (value - low)) / (high - low);
    drawn.append(svg("text", { x: 0, y: height - 4 }, short(low)));
    drawn.append(svg("text", { x: place(middle), y: height - 4, "text-anchor": "middle" }, short(middle)));
    drawn.append(svg("text", { x: width, y: height - 4, "text-anchor": "end" }, short(high)));
  }
  return drawn;
}

/* A number with four digits, or with as many as its error lets count. */
function short(value, error) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.max(Math.abs(value), error || 0);
  const places = error ? 1 - Math.floor(Math.log10(error)) : 0;
  let text = String(Number(value.toPrecision(4)));
  if (size >= 1e6 || size < 1e-4) text = value.toExponential(2);
  else if (error && places >= 0 && places <= 9) text = value.toFixed(places);
  return text.replaceAll("-", "−");
}

function signed(z) {
  return z === null || z === undefined ? "–" : (z < 0 ? "−" : "+") + Math.abs(z).toFixed(2);
}

function count(n) {
  return n.toLocaleString("en-US");
}

/* As 6.92 billion or 13.8 GB; what is less than the limit has all its digits. */
function large(n, units, limit = 1000) {
  let k = 0;
  if (n < limit) return count(n) + units[0];
  while (n >= 1000 && k < units.length - 1) { n /= 1000; k += 1; }
  return `${k ? n.toPrecision(3) : n}${units[k]}`;
}

/* An element with attributes and children; text is text, whatever it holds. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
