"use strict";
// The report's two explorers and its downloads. Everything from the survey is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const byId = (id) => document.getElementById(id);
  const ROWS_AT_FIRST = 200;
  const ABSENT = "–";

  function make(tag, { text, children = [], ...attributes } = {}) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  }

  const isolated = (tag, text, attributes = {}) => make(tag, { ...attributes, children: [make("bdi", { text })] });

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
  }

  // Numbers as on the rest of the page: accuracies in percent, the others with three decimals.
  const minus = (text) => text.replace("-", "−");
  function shown(value, share) {
    return value === null ? ABSENT : minus(share ? `${(100 * value).toFixed(1)}%` : value.toFixed(3));
  }
  function signed(value, share) {
    const text = share ? (100 * value).toFixed(1) : value.toFixed(3);
    return Number(text) === 0 ? text.replace("-", "") : minus(value > 0 ? `+${text}` : text);
  }
  function numberCell(value, low, high, share, show) {
    if (value === null) return make("td", { text: ABSENT });
    const text = (number) => show(number, share).replace("%", "");
    const interval = low === null || high === null ? [] : [" ", make("span", { class: "interval", text: `(${text(low)} to ${text(high)})` })];
    return make("td", { children: [show(value, share), ...interval] });
  }

  // ---- levels, subgroups and topics -----------------------------------------------------------------------------------------------------------
  const NUMBERS = { base: 0, tuned: 3, change: 6, reference: 9 };
  const sorting = { key: "name", up: true };
  let all = false;

  function columns() {
    const models = data.trained ? [["base", "Base"], ["tuned", "Tuned"], ["change", "Change"]] : [["base", "Base"]];
    const asked = byId("g-kind").value === "Topics" ? [] : [["respondents", "Respondents"]];
    return [["name", "Name"], ...asked, ["pairs", "Pairs"], ...models, ["reference", sentenceCase(data.reference)]];
  }

  const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  function groupRows() {
    const [kind, dimension, metric, split] = ["kind", "dimension", "metric", "split"].map((name) => byId(`g-${name}`).value);
    const wanted = byId("g-text").value.trim().toLocaleLowerCase();
    return data.groups
      .filter((group) => group.k === kind && (dimension === "" || group.d === dimension) && group.n.toLocaleLowerCase().includes(wanted))
      .filter((group) => group.of[split] && group.of[split][1][metric])
      .map((group) => ({ name: group.n, respondents: group.r, pairs: group.of[split][0], numbers: group.of[split][1][metric] }));
  }

  function sortKey(row) {
    if (sorting.key === "name") return row.name.toLocaleLowerCase();
    if (sorting.key === "respondents") return Number(row.respondents.replace(/\D/g, ""));
    if (sorting.key === "pairs") return row.pairs;
    return row.numbers[NUMBERS[sorting.key]];
  }

  function compare(one, other) {
    const [a, b] = [sortKey(one), sortKey(other)];
    if (a === b) return one.name < other.name ? -1 : 1;
    if (a === null || b === null) return a === null ? 1 : -1; // what is not known comes last, whichever way
    return (a < b ? -1 : 1) * (sorting.up ? 1 : -1);
  }

  function axisOf(rows, share) {
    const known = rows.flatMap((row) => row.numbers.filter((_, place) => place < 6 || place === 9)).filter((value) => value !== null);
    const step = share ? 0.1 : 0.05;
    const low = Math.max(0, Math.floor(Math.min(...known) / step) * step);
    const high = Math.min(1, Math.ceil(Math.max(...known) / step) * step);
    return { low, high: Math.max(high, low + step) };
  }

  function plot(numbers, axis) {
    const at = (value) => `${(100 * (Math.min(Math.max(value, axis.low), axis.high) - axis.low)) / (axis.high - axis.low)}%`;
    const box = make("span", { class: "plot-box", "aria-hidden": "true" });
    const mark = (value, name) => {
      if (value === null) return;
      const element = make("i", { class: name });
      element.style.left = at(value);
      box.append(element);
    };
    const span = (low, high, name) => {
      if (low === null || high === null) return;
      const element = make("i", { class: `span ${name}` });
      element.style.left = at(low);
      element.style.right = `calc(100% - ${at(high)})`;
      box.append(element);
    };
    mark(numbers[NUMBERS.reference], "tick paint-ink");
    span(numbers[1], numbers[2], "above paint-base");
    span(numbers[4], numbers[5], "below paint-tuned");
    mark(numbers[0], "diamond paint-base");
    mark(numbers[3], "dot paint-tuned");
    return make("td", { class: "plot", children: [box] });
  }

  function groupHead(axis, share) {
    const cells = columns().map(([key, text]) => {
      const active = sorting.key === key;
      const button = make("button", { type: "button", text: active ? `${text} ${sorting.up ? "▲" : "▼"}` : text });
      button.addEventListener("click", () => {
        Object.assign(sorting, { key, up: active ? !sorting.up : key === "name" });
        drawGroups();
        byId("g-table").querySelector(`th[data-key="${key}"] button`).focus();
      });
      const attributes = { scope: "col", "data-key": key, "aria-sort": active ? (sorting.up ? "ascending" : "descending") : "none" };
      return make("th", { ...attributes, class: key === "name" ? "prose" : "", children: [button] });
    });
    const ends = [axis.low, axis.high].map((value) => make("span", { text: shown(value, share).replace(".0%", "%") }));
    const scale = make("th", { scope: "col", class: "plot", children: [make("span", { text: "Plot" }), make("span", { class: "axis", children: ends })] });
    return make("tr", { children: [cells[0], scale, ...cells.slice(1)] });
  }

  function groupRow(row, axis, share) {
    const numbers = row.numbers;
    const cells = columns().slice(1).map(([key]) => {
      if (key === "respondents") return make("td", { text: row.respondents || ABSENT });
      if (key === "pairs") return make("td", { text: row.pairs === null ? ABSENT : row.pairs.toLocaleString("en") });
      const from = NUMBERS[key];
      if (key === "reference") return make("td", { text: shown(numbers[from], share) });
      return numberCell(numbers[from], numbers[from + 1], numbers[from + 2], share, key === "change" ? signed : shown);
    });
    return make("tr", { children: [isolated("th", row.name, { scope: "row", class: "prose" }), plot(numbers, axis), ...cells] });
  }

  function surely(rows, higherIsBetter) {
    const [above, below] = [7, 8].map((place) => rows.filter((row) => row.numbers[place] !== null && (place === 7 ? row.numbers[7] > 0 : row.numbers[8] < 0)));
    const known = rows.filter((row) => row.numbers[7] !== null && row.numbers[8] !== null).length;
    const [better, worse] = higherIsBetter ? [above, below] : [below, above];
    return known ? ` Surely better after fine-tuning: ${better.length}; surely worse: ${worse.length}; cannot be told: ${known - better.length - worse.length}.` : "";
  }

  function drawGroups() {
    const [key, name, higher] = data.metrics.find(([metric]) => metric === byId("g-metric").value);
    const share = key === "accuracy";
    const rows = groupRows().sort(compare);
    const axis = rows.length ? axisOf(rows, share) : { low: 0, high: 1 };
    const seen = all ? rows : rows.slice(0, ROWS_AT_FIRST);
    const table = byId("g-table");
    table.tHead.replaceChildren(groupHead(axis, share));
    table.tBodies[0].replaceChildren(...seen.map((row) => groupRow(row, axis, share)));
    const better = higher ? "more is better" : "less is better";
    byId("g-caption").textContent = `${name} (${better}), ${byId("g-split").selectedOptions[0].text}. Change: ${share ? "percentage points" : "tuned less base"}, with its interval.`;
    byId("g-told").textContent = rows.length ? `${rows.length} rows.${surely(rows, higher)}` : "No row: take another dimension, metric or name.";
    byId("g-more").hidden = seen.length === rows.length;
  }

  function offerDimensions() {
    const kept = data.groups.filter((group) => group.k === byId("g-kind").value);
    fill(byId("g-dimension"), [["", "all"], ...[...new Set(kept.map((group) => group.d))].sort().map((name) => [name, name])]);
  }

  function startGroups() {
    const kinds = ["Subgroups", "Levels", "Topics"].filter((kind) => data.groups.some((group) => group.k === kind));
    const measured = data.metrics.filter(([metric]) => data.groups.some((group) => Object.values(group.of).some(([, numbers]) => numbers[metric])));
    fill(byId("g-kind"), kinds.map((kind) => [kind, kind]));
    fill(byId("g-metric"), measured);
    fill(byId("g-split"), data.splits);
    offerDimensions();
    byId("g-kind").addEventListener("change", offerDimensions);
    byId("g-more").addEventListener("click", () => { all = true; drawGroups(); });
    for (const name of ["kind", "dimension", "metric", "split"]) byId(`g-${name}`).addEventListener("change", drawGroups);
    byId("g-text").addEventListener("input", drawGroups);
    byId("g-text").form.addEventListener("submit", (event) => event.preventDefault());
    byId("groups-explorer").hidden = false;
    drawGroups();
  }

  // ---- questions ------------------------------------------------------------------------------------------------------------------------------
  const MODELS = [["Survey", "paint-ink"], ["Base model", "paint-base"], ["Tuned model", "paint-tuned"]];

  function offerSubgroups() {
    const cells = data.questions[byId("q-item").value].c;
    const before = byId("q-group").value;
    const places = Object.keys(cells).map(Number).sort((one, other) => one - other);
    const [asked, others] = [true, false].map((wanted) => places.filter((place) => cells[place].length > 1 === wanted));
    const part = (label, held) => make("optgroup", { label, children: held.map((place) => make("option", { value: place, text: data.subgroups[place] })) });
    const parts = [["Asked of the models", asked], ["Survey only", others]].filter(([, held]) => held.length);
    byId("q-group").replaceChildren(...parts.map(([label, held]) => part(label, held)));
    if (before in cells) byId("q-group").value = before;
  }

  const mostOf = (shares) => shares.indexOf(Math.max(...shares));

  function answerCell(share, painted, chosen) {
    const bar = make("span", { class: `bar ${painted}`, "aria-hidden": "true" });
    bar.style.width = `${1.2 * share}px`;
    return make("td", { class: chosen ? "chosen" : "", children: [bar, `${share}%${chosen ? " ✓" : ""}`] });
  }

  function drawQuestion() {
    const question = data.questions[byId("q-item").value];
    const given = question.c[byId("q-group").value];
    byId("q-wording").replaceChildren(make("strong", { children: [make("bdi", { text: question.q || question.i })] }));
    const head = ["Option", ...given.map((_, place) => MODELS[place][0])];
    byId("q-table").tHead.replaceChildren(make("tr", { children: head.map((text) => make("th", { scope: "col", class: "prose", text })) }));
    const most = given.map(mostOf);
    const rows = question.o.map((option, row) => {
      const cells = given.map((shares, place) => answerCell(shares[row], MODELS[place][1], most[place] === row));
      return make("tr", { children: [isolated("th", option, { scope: "row", class: "prose" }), ...cells] });
    });
    byId("q-table").tBodies[0].replaceChildren(...rows);
    byId("q-caption").textContent = `${question.i}, ${question.t}. ✓: the likeliest option. A model's shares may leave something to what is no option.`;
    const told = given.map((_, place) => `${MODELS[place][0]}: ${question.o[most[place]]}`).join(". ");
    byId("q-told").textContent = given.length > 1 ? `${told}.` : `${told}. The models were trained on this pair, or it was not tested: their answers are not known.`;
  }

  function startQuestions() {
    const topics = [...new Set(data.questions.map((question) => question.t))];
    const groups = topics.map((label) => {
      const held = data.questions.flatMap((question, place) => (question.t === label ? [[place, question]] : []));
      return make("optgroup", { label, children: held.map(([value, question]) => make("option", { value, text: `${question.i} ${question.q}`.slice(0, 110) })) });
    });
    byId("q-item").replaceChildren(...groups);
    byId("q-item").addEventListener("change", () => { offerSubgroups(); drawQuestion(); });
    byId("q-group").addEventListener("change", drawQuestion);
    byId("q-item").form.addEventListener("submit", (event) => event.preventDefault());
    byId("questions-explorer").hidden = false;
    offerSubgroups();
    drawQuestion();
  }

  // ---- downloads ------------------------------------------------------------------------------------------------------------------------------
  // A cell that begins like a formula is kept from being one.
  function csvCell(text) {
    const plain = text.replace(/\s+/g, " ").trim();
    return `"${(/^[=+@\t\r]/.test(plain) && !/^\+[\d.]/.test(plain) ? `'${plain}` : plain).replaceAll('"', '""')}"`;
  }

  function csvOf(table) {
    return [...table.rows].map((row) => [...row.cells].filter((cell) => !cell.classList.contains("plot")).map((cell) => csvCell(cell.textContent)).join(",")).join("\r\n");
  }

  function offerDownload(table) {
    const caption = table.caption;
    const button = make("button", { type: "button", class: "csv", text: "Download CSV" });
    const names = () => (caption.querySelector("span").textContent.split(/[.:;(]/)[0] || "table").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
    button.addEventListener("click", () => {
      const address = URL.createObjectURL(new Blob(["\ufeff", csvOf(table)], { type: "text/csv" }));
      make("a", { href: address, download: `${names().slice(0, 60)}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    });
    caption.prepend(button);
  }

  for (const table of document.querySelectorAll("table.data")) offerDownload(table);
  if (data.groups.length) startGroups();
  if (data.questions.length) startQuestions();
})();
