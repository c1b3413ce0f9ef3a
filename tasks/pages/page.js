"use strict";
// A click on a heading sorts its table, a second one reverses the order. Without the script tables stay as they are.
const collator = new Intl.Collator("en", { numeric: true });

function compareCells(left, right, isNumber) {
  if (!isNumber) return collator.compare(left.textContent, right.textContent);
  const known = [left, right].map((cell) => cell.dataset.order !== undefined);
  if (!known[0] || !known[1]) return 0;
  return Number(left.dataset.order) - Number(right.dataset.order);
}

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const isNumber = head.classList.contains("number");
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const isLast = (row) => isNumber && row.cells[column].dataset.order === undefined;
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort(
    (left, right) =>
      isLast(left) - isLast(right) || sign * compareCells(left.cells[column], right.cells[column], isNumber)
  );
  table.tBodies[0].append(...rows);
}

// On a narrow screen each cell stands below its heading: the style sheet reads it from the cell.
function label(table) {
  const headings = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, column) => (cell.dataset.label = headings[column]));
}

for (const table of document.querySelectorAll("table.sortable")) {
  label(table);
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(table, column));
    head.append(button);
  });
}

// --- samples: filtered, sorted, plotted, paged ---
// Every text of a run is set as text, never as markup.
const PER_PAGE = 10;
const SVG = "http://www.w3.org/2000/svg";
const part = (name) => document.getElementById(name);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const said = (text) => make("span", { className: "said", dir: "auto" }, text);
const muted = (...parts) => make("span", { className: "muted" }, ...parts);
const decimals = (value, digits) => value.toFixed(digits).replace("-", "−");
const signed = (value) => (value > 0 ? "+" : "") + decimals(value, 2);
const counted = (value) => value.toLocaleString("en");
const probability = (nll) => 100 * Math.exp(-nll);

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

// What the router chose for a sample, where a condition is "routed".
function armOf(sample, condition) {
  const [, family, key, treatment = ""] = condition.match(/^(.*?)\/(.*?)(\+.*)?$/);
  return key === "routed" ? `${family}/${sample.routed[family]}${treatment}` : condition;
}

const textArm = (arm) => arm.replace(/\+.*$/, "");

function explore(data) {
  const places = new Map(data.conditions.map((name, place) => [name, place]));
  const nllOf = (sample, condition) => {
    const nll = sample.nlls[places.get(armOf(sample, condition))];
    return nll === undefined || nll === null ? null : nll / 1e6;
  };
  const surrogateOf = (sample, condition) => sample.surrogates[textArm(armOf(sample, condition))];
  const writtenOf = (sample, condition) => sample.written[armOf(sample, condition)];
  const similarityOf = (pair) => surrogateOf(pair.sample, part("arm").value)?.similarity ?? null;
  const wordsOf = (sample) =>
    (sample.words ??= [sample.query, sample.passage, ...sample.answers]
      .concat(Object.values(sample.surrogates).flatMap((found) => [found.text, ...found.flags]))
      .concat(Object.values(sample.written).map((found) => found.text))
      .join("\n")
      .toLowerCase());

  const SHOWN = {
    "all samples": () => true,
    gained: (pair) => pair.change > 0,
    lost: (pair) => pair.change < 0,
    equal: (pair) => pair.change === 0,
    "a flagged surrogate": (pair) => Object.values(pair.sample.surrogates).some((found) => found.flags.length),
    "written answers differ": (pair) =>
      writtenOf(pair.sample, part("arm").value)?.text !== writtenOf(pair.sample, part("reference").value)?.text,
  };
  const SORTED = {
    "gained most": (pair) => -pair.change,
    "lost most": (pair) => pair.change,
    "largest change": (pair) => -Math.abs(pair.change),
    "least probable": (pair) => pair.arm,
    "most probable": (pair) => -pair.arm,
    "most similar": (pair) => -(similarityOf(pair) ?? -Infinity),
    "least similar": (pair) => similarityOf(pair) ?? Infinity,
    "query, A to Z": null,
    "as drawn": () => 0,
  };
  const PLOTTED = { "both probabilities": false, "similarity and change": true };

  let page = 0;
  let pairs = [];

  function fill(name, options, chosen) {
    part(name).replaceChildren(...options.map((option) => make("option", { selected: option === chosen }, option)));
    part(name).closest("label").hidden = options.length < 2;
  }

  function choose() {
    const [arm, reference, type] = ["arm", "reference", "type"].map((name) => part(name).value);
    const words = part("search").value.toLowerCase().trim();
    const isShown = SHOWN[part("show").value];
    const key = SORTED[part("sort").value];
    pairs = data.samples
      .map((sample) => ({ sample, nlls: [nllOf(sample, reference), nllOf(sample, arm)] }))
      .filter((pair) => pair.nlls.every((nll) => nll !== null))
      .map((pair) => {
        const [before, after] = pair.nlls.map(probability);
        return { ...pair, reference: before, arm: after, change: after - before };
      })
      .filter((pair) => isShown(pair) && (type === "every type" || pair.sample.type === type))
      .filter((pair) => wordsOf(pair.sample).includes(words));
    pairs.sort(
      key ? (left, right) => key(left) - key(right) : (left, right) => collator.compare(left.sample.query, right.sample.query)
    );
  }

  function show() {
    const pages = Math.max(1, Math.ceil(pairs.length / PER_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    part("list").replaceChildren(...pairs.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
    for (const pager of document.querySelectorAll(".pager")) {
      const [previous, next] = pager.querySelectorAll("button");
      [previous.disabled, next.disabled] = [page === 0, page === pages - 1];
      pager.querySelector("span").textContent = `Page ${counted(page + 1)} of ${counted(pages)}`;
    }
  }

  function update() {
    choose();
    page = 0;
    part("found").textContent = summary();
    plot();
    show();
  }

  function summary() {
    const changes = pairs.map((pair) => pair.change).sort((left, right) => left - right);
    if (!changes.length) return "No sample is like that. Choose others above.";
    const at = (share) => {
      const place = share * (changes.length - 1);
      const low = Math.floor(place);
      return changes[low] + (place - low) * (changes[Math.ceil(place)] - changes[low]);
    };
    const share = (is) => `${decimals((100 * changes.filter(is).length) / changes.length, 1)} %`;
    const mean = changes.reduce((sum, change) => sum + change, 0) / changes.length;
    return (
      `${counted(changes.length)} of ${counted(data.samples.length)} samples: ${share((change) => change > 0)} gain, ` +
      `${share((change) => change < 0)} lose, ${share((change) => change === 0)} are equal; mean ${signed(mean)} points, ` +
      `median ${signed(at(0.5))}, nine in ten between ${signed(at(0.05))} and ${signed(at(0.95))}.`
    );
  }

  function plot() {
    const bySimilarity = PLOTTED[part("plotted").value];
    const shown = pairs.map((pair) => ({
      pair,
      x: bySimilarity ? similarityOf(pair) : pair.reference,
      y: bySimilarity ? pair.change : pair.arm,
    })).filter((dot) => dot.x !== null);
    const width = Math.min(part("dots").clientWidth || 640, 720);
    const height = Math.round(Math.min(0.75 * width, 420));
    const box = { left: 48, right: width - 10, top: 10, bottom: height - 42 };
    const [xs, ys] = [shown.map((dot) => dot.x), shown.map((dot) => dot.y)];
    const across = scale(bySimilarity ? xs : [0, ...xs, ...ys], box.left, box.right);
    const up = scale(bySimilarity ? [0, ...ys] : [0, ...xs, ...ys], box.bottom, box.top);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "One dot for each sample" });
    for (const tick of across.ticks) {
      svg.append(draw("line", { class: "grid", x1: across.at(tick), x2: across.at(tick), y1: box.top, y2: box.bottom }));
      svg.append(draw("text", { x: across.at(tick), y: box.bottom + 15, "text-anchor": "middle" }, across.name(tick)));
    }
    for (const tick of up.ticks) {
      svg.append(draw("line", { class: "grid", x1: box.left, x2: box.right, y1: up.at(tick), y2: up.at(tick) }));
      svg.append(draw("text", { x: box.left - 6, y: up.at(tick) + 4, "text-anchor": "end" }, up.name(tick)));
    }
    const most = Math.min(across.high, up.high);
    const ends = bySimilarity ? [across.low, 0, across.high, 0] : [0, 0, most, most];
    svg.append(draw("line", { class: "even", x1: across.at(ends[0]), y1: up.at(ends[1]), x2: across.at(ends[2]), y2: up.at(ends[3]) }));
    const middle = (box.left + box.right) / 2;
    const xName = bySimilarity ? "similarity of query and surrogate" : `${part("reference").value}, %`;
    const yName = bySimilarity ? "change, points" : `${part("arm").value}, %`;
    svg.append(draw("text", { x: middle, y: height - 8, "text-anchor": "middle" }, xName));
    const turned = `translate(12 ${(box.top + box.bottom) / 2}) rotate(-90)`;
    svg.append(draw("text", { transform: turned, "text-anchor": "middle" }, yName));
    for (const { pair, x, y } of shown) {
      const tone = pair.change > 0 ? "gain" : pair.change < 0 ? "loss" : "tie";
      const name = draw("title", {}, `${pair.sample.query.slice(0, 100)}\n${changeOf(pair)}`);
      const dot = draw("circle", { class: tone, cx: across.at(x).toFixed(1), cy: up.at(y).toFixed(1), r: 4 }, name);
      svg.append(draw("a", { href: hashOf(pair.sample), tabindex: -1 }, dot));
    }
    part("dots").replaceChildren(svg);
  }

  const changeOf = (pair) =>
    `${signed(pair.change)} points: ${decimals(pair.reference, 2)} % to ${decimals(pair.arm, 2)} % ` +
    `(NLL ${decimals(pair.nlls[0], 3)} to ${decimals(pair.nlls[1], 3)})`;
  const hashOf = (sample) => `#sample-${encodeURIComponent(sample.id)}`;

  function card(pair) {
    const { sample } = pair;
    const [arm, reference] = [part("arm").value, part("reference").value];
    const answers = sample.answers.flatMap((answer, place) => (place ? [" · ", said(answer)] : [said(answer)]));
    const every = make("details", {}, make("summary", {}, `All ${data.listed.length} conditions`));
    every.addEventListener("toggle", () => every.children.length > 1 || every.append(tableOf(pair)), { once: true });
    return make(
      "article",
      { id: hashOf(sample).slice(1), tabIndex: -1 },
      make("h3", {}, make("a", { href: hashOf(sample) }, said(sample.query))),
      make("p", { className: "change" }, changeOf(pair), sample.type ? ` · ${sample.type}` : ""),
      make("p", { className: "passage" }, said(sample.passage)),
      make("p", {}, muted("Answer: "), ...answers),
      make("div", { className: "sides" }, side(sample, reference), side(sample, arm)),
      every
    );
  }

  // One condition of a sample: its surrogate, what the model wrote, and how likely it found each token of the answer.
  function side(sample, condition) {
    const arm = armOf(sample, condition);
    const [surrogate, written, nlls] = [surrogateOf(sample, condition), writtenOf(sample, condition), sample.readings[arm]];
    const nll = nllOf(sample, condition);
    const found = make("div", {}, make("h4", {}, arm === condition ? condition : `${condition}: ${arm.replace(/^.*?\//, "")}`));
    found.append(make("p", {}, `${decimals(probability(nll), 2)} %, NLL ${decimals(nll, 3)}`));
    if (surrogate) {
      const similarity = surrogate.similarity === null ? "" : ` similarity ${decimals(surrogate.similarity, 3)}`;
      const flags = surrogate.flags.map((flag) => make("span", { className: "badge" }, flag));
      found.append(make("p", {}, muted("Surrogate: "), said(surrogate.text), muted(similarity), " ", ...flags));
    }
    if (written) {
      found.append(make("p", {}, muted("Written: "), said(written.text), muted(` F1 ${decimals(written.f1, 2)}`)));
    }
    if (nlls) {
      const tokens = nlls.map((value, place) => {
        const token = make("span", { className: "token" }, make("bdi", {}, sample.tokens[place] ?? ""));
        token.append(make("small", {}, decimals(value / 100, 2)));
        token.style.setProperty("--heat", `${100 * (1 - Math.exp(-value / 300))}%`);
        return token;
      });
      found.append(make("div", { className: "tokens" }, ...tokens));
    }
    return found;
  }

  function tableOf(pair) {
    const { sample } = pair;
    const columns = { "probability, %": true, "change, points": true, NLL: true, surrogate: false, similarity: true, "written answer": false, F1: true };
    const rows = data.listed.map((condition) => {
      const nll = nllOf(sample, condition);
      const [surrogate, written] = [surrogateOf(sample, condition), writtenOf(sample, condition)];
      const chance = nll === null ? null : probability(nll);
      const shown = (value, form) => (value === null || value === undefined ? "–" : form(value));
      return [
        armOf(sample, condition) === condition ? condition : `${condition}: ${armOf(sample, condition).replace(/^.*?\//, "")}`,
        shown(chance, (value) => decimals(value, 2)),
        shown(chance, (value) => signed(value - pair.reference)),
        shown(nll, (value) => decimals(value, 3)),
        said(surrogate?.text ?? "–"),
        shown(surrogate?.similarity, (value) => decimals(value, 3)),
        said(written?.text ?? "–"),
        shown(written?.f1, (value) => decimals(value, 2)),
      ];
    });
    const headings = ["condition", ...Object.keys(columns)];
    const kinds = ["", ...Object.values(columns).map((isNumber) => (isNumber ? "number" : ""))];
    const has = headings.map((_, column) => rows.some((row) => (row[column].textContent ?? row[column]) !== "–"));
    const head = make("tr", {}, ...headings.map((text, column) => make("th", { scope: "col", className: kinds[column] }, text)).filter((_, column) => has[column]));
    const body = rows.map((row) => make("tr", {}, ...row.map((cell, column) => make("td", { className: kinds[column] }, cell)).filter((_, column) => has[column])));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
    label(table);
    return make("div", { className: "table-box", tabIndex: 0, role: "group", ariaLabel: "All conditions of one sample" }, table);
  }

  function openTarget() {
    const own = (pair) => hashOf(pair.sample) === location.hash;
    if (!location.hash.startsWith("#sample-")) return;
    if (!pairs.some(own)) {
      [part("show").value, part("type").value, part("search").value] = ["all samples", "every type", ""];
      update();
    }
    const place = pairs.findIndex(own);
    if (place < 0) return;
    page = Math.floor(place / PER_PAGE);
    show();
    const found = part(location.hash.slice(1));
    found.scrollIntoView();
    found.focus({ preventScroll: true });
  }

  fill("arm", data.listed, data.arm);
  fill("reference", data.listed, data.reference);
  const has = (name) => data.samples.some((sample) => Object.keys(sample[name]).length);
  const shows = Object.keys(SHOWN).filter((name) => has("written") || name !== "written answers differ");
  fill("show", shows, "all samples");
  fill("type", ["every type", ...new Set(data.samples.map((sample) => sample.type).filter(Boolean))], "every type");
  fill("sort", Object.keys(SORTED), "largest change");
  fill("plotted", Object.keys(PLOTTED), "both probabilities");
  for (const control of part("controls").querySelectorAll("select, input")) control.addEventListener("input", update);
  for (const pager of document.querySelectorAll(".pager")) {
    pager.querySelectorAll("button").forEach((button, place) =>
      button.addEventListener("click", () => {
        page += place ? 1 : -1;
        show();
        if (pager.id === "below") part("list").scrollIntoView();
      })
    );
  }
  addEventListener("hashchange", openTarget);
  addEventListener("resize", plot);
  part("explorer").hidden = false;
  update();
  openTarget();
}

// A linear axis from the least to the most of some values, in pixels from one end to the other.
function scale(values, start, end) {
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const room = 0.04 * (high - low) || 0.5;
  const [first, last] = Number.isFinite(low) ? [low - (low < 0 ? room : 0), high + room] : [0, 1];
  const power = 10 ** Math.floor(Math.log10(last - first));
  const step = [0.1, 0.2, 0.5, 1, 2, 5].map((size) => size * power).find((size) => (last - first) / size <= 6);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const ticks = [];
  for (let tick = Math.ceil(first / step); tick * step <= last; tick += 1) ticks.push(tick * step);
  const at = (value) => start + ((value - first) / (last - first)) * (end - start);
  return { low: first, high: last, ticks, at, name: (tick) => decimals(tick, digits) };
}

if (part("packed")) {
  unpack(part("packed").content.textContent)
    .then(explore)
    .catch((error) => {
      part("unpacking").textContent =
        `The samples could not be unpacked (${error.message}). A browser of 2023 or later can; the same rows are in artifacts/results.duckdb.`;
    });
}
