"use strict";

/* The page from its data: a folder, what was found, and in columns what each tensor looks like. */

const LAWS_AT_FIRST = 12;

function begin() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = Uint8Array.from(atob(data.seen), (letter) => letter.charCodeAt(0));
  const at = (id) => document.getElementById(id);
  at("asked").textContent = data.asked;
  at("made").textContent = data.made;
  verdict(at("verdict"), data);
  totals(at("totals"), data);
  scores(at("scores"), data);
  at("roles").append(roles(data));
  laws(at("laws"), at("more-laws"), data);

  const tensors = new Tensors(data, bytes);
  data.roles.forEach((role, k) => at("role").append(make("option", { value: k }, role.name)));
  at("order").append(make("option", { value: "" }, "as in the files"));
  for (const { key, title, order } of COLUMNS) if (order) at("order").append(make("option", { value: key }, title));
  at("list").append(tensors.table());
  let waiting = 0;
  at("filter").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => tensors.update(), tensors.length > 5000 ? 150 : 0);
  });
  at("controls").addEventListener("submit", (event) => { event.preventDefault(); tensors.update(); });
  at("role").addEventListener("change", () => tensors.update());
  at("order").addEventListener("change", () => tensors.orderBy(at("order").value, false));
  at("more-tensors").addEventListener("click", () => tensors.more());
  tensors.update();
  document.documentElement.dataset.ready = "yes";
}

function byElements(a, b) {
  return b.elements - a.elements;
}

function verdict(where, data) {
  where.classList.toggle("odd", data.odd);
  where.append(make("span", { class: "sign", "aria-hidden": "true" }, data.odd ? "!" : "✓"), make("p", {}, data.verdict));
}

function totals(where, data) {
  const tile = (title, value, small) => make("div", {}, make("dt", {}, title), make("dd", {}, value, make("small", {}, small)));
  where.append(
    tile("Tensors", count(data.tensors.name.length), `${count(data.laws.length)} role${data.laws.length === 1 ? " and law" : "s and laws"}`),
    tile("Elements", large(data.elements, ["", " thousand", " million", " billion", " trillion"], 1e6), count(data.elements)),
    tile("Size", large(data.size, [" bytes", " kB", " MB", " GB", " TB"]), data.dtypes),
    tile("Seed", String(data.seed), `stream version ${data.streamVersion}`));
  const digest = data.digest
    ? [make("span", { class: "hash" }, data.digest), make("button", { type: "button", class: "copy", onclick: (event) => copy(event.target, data.digest) }, "Copy")]
    : ["none, as only a sample was read"];
  where.append(make("div", { class: "wide" }, make("dt", {}, "Digest, sha256 of all tensors’ bits"), make("dd", {}, ...digest)));
}

function copy(button, text) {
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; });
}

function scores(where, data) {
  where.hidden = !data.scores;
  if (!data.scores) return;
  const { seen, low, high, total } = data.scores, step = (high - low) / seen.length;
  const normal = seen.map((_, k) => Math.exp(-((low + (k + 0.5) * step) ** 2) / 2) / Math.sqrt(2 * Math.PI));
  const densities = seen.map((n) => n / total / step);
  where.append(
    chart({ seen: densities, law: normal, low, high, width: 560, height: 150, label: `histogram of ${total} z-scores and a standard normal` }),
    make("figcaption", {}, `The ${count(total)} z-scores of all tensors: how far mean, std, skewness and histogram are from their laws’, in standard errors. Where all is well they follow a standard normal.`));
}

function roles(data) {
  const most = Math.max(...data.roles.map((role) => role.elements), 1);
  const heads = ["Role", "Tensors", "Elements", "Share", "Laws", "Farthest z"].map((title, k) =>
    make("th", { scope: "col", role: "columnheader", class: k && title !== "Share" ? "number" : "" }, title));
  const rows = [...data.roles].sort(byElements).map((role) => {
    const cell = (label, text, css = "number") => make("td", { role: "cell", class: css, "data-label": label }, text);
    const part = (100 * role.elements) / Math.max(data.elements, 1);
    const fill = make("span", {});
    fill.style.width = `${(100 * role.elements) / most}%`;
    const share = cell("Share", make("span", { class: "share", "aria-hidden": "true" }, fill), "");
    share.prepend(make("span", { class: "hidden" }, `${part.toPrecision(2)} %`));
    return make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, role.name),
      cell("Tensors", count(role.tensors)), cell("Elements", count(role.elements)), share,
      cell("Laws", count(role.laws)), cell("Farthest z", score(role.far, data.limit)));
  });
  return make("table", { class: "stacked", role: "table", "aria-labelledby": "roles-heading" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)), make("tbody", { role: "rowgroup" }, ...rows));
}

function laws(where, button, data) {
  let shown = 0;
  const all = [...data.laws].sort(byElements);
  const more = () => {
    const next = all.slice(shown, shown + (shown ? 60 : LAWS_AT_FIRST));
    where.append(...next.map((law) => card(law, data)));
    shown += next.length;
    const left = all.length - shown;
    button.hidden = left === 0;
    button.textContent = `Show ${count(Math.min(60, left))} more of ${count(left)}`;
  };
  button.addEventListener("click", more);
  more();
}

function card(law, data) {
  const role = data.roles[law.role].name;
  const many = `${count(law.tensors)} tensor${law.tensors === 1 ? "" : "s"}, ${count(law.elements)} elements, ${law.dtype}`;
  const facts = (title, value, error, z) => [make("dt", {}, title),
    make("dd", {}, short(value, error) + (error ? ` ± ${short(error, error)}` : "")), make("dd", { class: "z" }, z === null ? "" : "z ", z === null ? "" : score(z, data.limit))];
  const body = law.seenLeast === law.seenLargest
    ? [make("p", { class: "one" }, `Every element is ${short(law.seenLeast)}.`)]
    : [chart({ seen: law.seen, law: law.density, low: law.seenLow, high: law.seenHigh, width: 320, height: 130, label: `histogram of ${role}: ${law.words}` }),
      make("dl", { class: "facts" }, ...facts("mean", law.seenMean, law.meanError, law.meanZ),
        ...facts("std", law.seenStd, law.stdError, law.stdZ), ...facts("skewness", law.seenSkew, law.skewError, law.skewZ),
        ...facts("range", null, null, null).slice(0, 1), make("dd", {}, range(law.seenLeast, law.seenLargest)), make("dd", { class: "z" }))];
  return make("article", { class: "card" }, make("h3", {}, role), make("p", {}, law.words, make("br"), many), ...body);
}

begin();
