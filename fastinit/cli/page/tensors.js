"use strict";

/* The list of all tensors: filtered, ordered, and a hundred rows at a time. */

const STEP = 100;
const COLUMNS = [
  { key: "name", title: "Name", order: (t) => (a, b) => collator.compare(t.name[a], t.name[b]) },
  { key: "elements", title: "Elements", number: true, order: (t) => (a, b) => t.elements[b] - t.elements[a] },
  { key: "seen", title: "Histogram" },
  { key: "mean", title: "Mean", number: true, order: (t) => (a, b) => t.mean[b] - t.mean[a] },
  { key: "std", title: "Std", number: true, order: (t) => (a, b) => t.std[b] - t.std[a] },
  { key: "range", title: "Range", number: true, order: (t) => (a, b) => t.largest[b] - t.least[b] - t.largest[a] + t.least[a] },
  { key: "far", title: "Farthest z", number: true, order: (t) => (a, b) => Math.abs(t.far[b] || 0) - Math.abs(t.far[a] || 0) },
];
const collator = new Intl.Collator("en", { numeric: true });

class Tensors {
  constructor(data, bytes) {
    this.data = data;
    this.columns = data.tensors;
    this.bytes = bytes;
    this.length = this.columns.name.length;
    this.order = "";
    this.backward = false;
    this.shown = 0;
    this.rows = [];
    this.body = make("tbody", { role: "rowgroup" });
    this.heads = {};
  }

  /* The table, of which the rows come later. */
  table() {
    const heads = COLUMNS.map((column) => {
      const title = column.order
        ? make("button", { type: "button", onclick: () => this.orderBy(column.key) }, column.title) : column.title;
      const head = make("th", { scope: "col", role: "columnheader", class: column.number && "number" }, title);
      this.heads[column.key] = head;
      return head;
    });
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
    return make("table", { class: "stacked", role: "table", "aria-labelledby": "tensors-heading" }, head, this.body);
  }

  orderBy(key, backward) {
    this.backward = backward === undefined ? key === this.order && !this.backward : backward;
    this.order = key;
    for (const [name, head] of Object.entries(this.heads)) {
      const up = (name === "name") !== this.backward;
      if (name === key) head.setAttribute("aria-sort", up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    document.getElementById("order").value = key;
    this.update();
  }

  /* Those whose name holds the text, where * stands for anything, and whose role is that one. */
  update() {
    const text = document.getElementById("filter").value.trim().toLowerCase();
    const role = document.getElementById("role").value;
    const pattern = new RegExp(text.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*"), "s");
    const found = [];
    for (let k = 0; k < this.length; k += 1) {
      if (role !== "" && this.columns.role[k] !== Number(role)) continue;
      if (text === "" || pattern.test(this.columns.name[k].toLowerCase())) found.push(k);
    }
    const column = COLUMNS.find(({ key }) => key === this.order);
    if (column) found.sort(column.order(this.columns));
    if (this.backward) found.reverse();
    this.rows = found;
    this.shown = 0;
    this.body.replaceChildren();
    const all = found.length === this.length ? "All " : "";
    document.getElementById("found").textContent =
      `${all}${count(found.length)}${all ? "" : ` of ${count(this.length)}`} tensors`;
    this.more();
  }

  more() {
    const next = this.rows.slice(this.shown, this.shown + STEP);
    this.body.append(...next.map((k) => this.row(k)));
    this.shown += next.length;
    const left = this.rows.length - this.shown;
    const button = document.getElementById("more-tensors");
    button.hidden = left === 0;
    button.textContent = `Show ${count(Math.min(STEP, left))} more of ${count(left)}`;
  }

  row(k) {
    const t = this.columns, law = this.data.laws[t.law[k]];
    const name = make("button", { type: "button", class: "name", "aria-expanded": "false" }, t.name[k]);
    const cell = (label, css, ...children) => make("td", { role: "cell", class: css, "data-label": label }, ...children);
    const beside = (value, error) => [short(value, error), make("small", {}, error ? `± ${short(error, error)}` : "")];
    const row = make("tr", { role: "row" },
      make("th", { scope: "row", role: "rowheader" }, name, make("small", {}, law.words)),
      cell("Elements", "number", count(t.elements[k]), make("small", {}, `${t.shape[k]} ${t.dtype[k]}`)),
      make("td", { role: "cell", class: "across" }, this.spark(k)),
      cell("Mean", "number", ...beside(t.mean[k], t.meanError[k])),
      cell("Std", "number", ...beside(t.std[k], t.stdError[k])),
      cell("Range", "number", range(t.least[k], t.largest[k]), this.trouble(k)),
      cell("Farthest z", "number", score(t.far[k], this.data.limit)));
    let detail = null;
    name.addEventListener("click", () => {
      const open = name.getAttribute("aria-expanded") === "true";
      name.setAttribute("aria-expanded", String(!open));
      row.classList.toggle("open-row", !open);
      if (open) detail.remove();
      else row.after(detail = this.detail(k));
    });
    return row;
  }

  trouble(k) {
    const t = this.columns, bad = t.notFinite[k], outside = t.outside[k];
    const said = [bad ? `${count(bad)} not finite` : "", outside ? `${count(outside)} not the law’s` : ""].filter(Boolean);
    return make("small", {}, said.length ? make("span", { class: "odd-score" }, said.join(", ")) : "");
  }

  /* The densities of a tensor's histogram: bytes, of which 255 is its highest. */
  seen(k) {
    const bins = this.data.bins;
    return Array.from(this.bytes.subarray(k * bins, (k + 1) * bins), (byte) => (byte / 255) * this.columns.top[k]);
  }

  picture(k, width, height, axis) {
    const t = this.columns, law = this.data.laws[t.law[k]];
    const low = law.low === null ? t.least[k] : law.low, high = law.low === null ? t.largest[k] : law.high;
    return chart({ seen: this.seen(k), law: law.density, low, high, width, height, axis, label: `histogram of ${t.name[k]}: ${law.words}` });
  }

  spark(k) {
    const t = this.columns;
    if (t.least[k] === t.largest[k]) return make("span", { class: "one" }, `all ${short(t.least[k])}`);
    return make("div", { class: "spark" }, this.picture(k, 120, 30, false));
  }

  detail(k) {
    const t = this.columns, law = this.data.laws[t.law[k]], limit = this.data.limit;
    const line = (title, value, expected, error, z) => make("tr", { role: "row" },
      make("th", { scope: "row", role: "rowheader" }, title),
      ...[short(value, error), short(expected, error && Math.min(error, Math.abs(expected) / 100)), error ? short(error, error) : "–", score(z, limit)].map((text) =>
        make("td", { role: "cell", class: "number" }, text)));
    const titles = ["", "seen", "law", "std error", "z"].map((title, n) =>
      make("th", { scope: "col", role: "columnheader", class: n ? "number" : "" }, title));
    const table = make("table", { role: "table", "aria-label": `statistics of ${t.name[k]}` },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...titles)),
      make("tbody", { role: "rowgroup" },
        line("mean", t.mean[k], law.mean, t.meanError[k], t.meanZ[k]),
        line("std", t.std[k], law.std, t.stdError[k], t.stdZ[k]),
        line("skewness", t.skew[k], law.skew, t.skewError[k], t.skewZ[k]),
        t.ends[k] === null ? null : line("at the bounds", t.ends[k], law.ends, t.endsError[k], t.endsZ[k]),
        t.fit[k] === null ? null : line("histogram", null, null, null, t.fit[k]),
        line("least", t.least[k], law.least, null, null),
        line("largest", t.largest[k], law.largest, null, null)));
    const constant = t.least[k] === t.largest[k];
    const picture = constant ? make("p", { class: "one" }, `Every element is ${short(t.least[k])}.`)
      : this.picture(k, 520, 220, true);
    const digest = t.digest ? make("p", { class: "muted" }, "sha256 ", make("span", { class: "hash" }, t.digest[k])) : null;
    const wide = { role: "cell", colspan: COLUMNS.length };
    const spread = make("div", { class: "spread" }, make("div", {}, picture), make("div", {}, table, digest));
    return make("tr", { class: "detail", role: "row" }, make("td", wide, spread));
  }
}

function range(least, largest) {
  return least === largest ? short(least) : `${short(least)} … ${short(largest)}`;
}

function score(z, limit) {
  return Math.abs(z || 0) > limit ? make("span", { class: "odd-score" }, signed(z)) : signed(z);
}
