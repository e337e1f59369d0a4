// Sorting, searching, charts and panels. Whatever is a name of the data is set as text, never as HTML.
const data = JSON.parse(document.getElementById("page-data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const MINUS = /\u2212/g;

// What is said of clicks holds from here on.
document.documentElement.classList.add("live");

function element(tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// A long name of several parts breaks between them and not within one.
function breakable(tag, text) {
  const made = element(tag);
  text.split("+").forEach((part, i) => made.append(...(i ? ["+", element("wbr"), part] : [part])));
  return made;
}

// Charts: the still picture goes once the browser has drawn its own.
const options = { ast: true, logLevel: 1, actions: false, renderer: "canvas", defaultStyle: false, tooltip: { disableDefaultStyle: true, id: "told" } };

async function draw(place, spec) {
  const theme = dark.matches ? data.themes.dark : data.themes.light;
  const whole = { ...spec, width: "container", config: theme, autosize: { type: "fit-x", contains: "padding" } };
  return (await vegaEmbed(place, whole, options)).view;
}

async function drawAll() {
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    figure.classList.add("moving");
    try {
      await draw(figure.querySelector(".drawn"), data.charts[figure.dataset.chart]);
    } catch (error) {
      figure.classList.remove("moving");
      console.error(error);
    }
  }
}

// Tables. Numbers are written for people, with true minus signs and thousands grouped.
function order(cell) {
  if (cell.dataset.order !== undefined) return;
  const text = cell.textContent.trim().replace(MINUS, "-").replace(/,(?=\d{3})/g, "");
  const power = text.match(/^(-?[\d.]+) × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/);
  const plain = text.match(/^[+-]?\d+(\.\d+)?/);
  if (power) {
    const signs = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    const exponent = [...power[2]].map((sign) => (sign === "⁻" ? "-" : signs.indexOf(sign))).join("");
    cell.dataset.order = Number(power[1]) * 10 ** Number(exponent);
  } else if (plain) cell.dataset.order = Number(plain[0]);
  else if (/^(|–|undefined)$/.test(text)) cell.dataset.order = -1e12;
}

function sortable(table, more = {}) {
  table.querySelectorAll("tbody td").forEach(order);
  return new DataTable(table, {
    paging: false, searching: false, info: false, autoWidth: false, order: [],
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null }, ...more,
  });
}

function facts(values) {
  const list = element("dl");
  values.forEach((value, i) => {
    if (value) list.append(element("dt", data.heads[i]), element("dd", value));
  });
  return list;
}

function topGenes(genes) {
  const table = element("table");
  const caption = element("caption", `The ${Math.min(10, genes.length)} genes that move most in the data`);
  const head = element("tr");
  for (const name of ["gene", "measured", "predicted"]) head.append(element("th", name));
  table.append(caption, head);
  const ordered = [...genes].sort((a, b) => Math.abs(b.x) - Math.abs(a.x)).slice(0, 10);
  for (const gene of ordered) {
    const row = element("tr");
    row.append(element("th", gene.gene), element("td", shown(gene.x)), element("td", shown(gene.y)));
    table.append(row);
  }
  return table;
}

const shown = (value) => value.toFixed(3).replace("-", "−");

function genesOf(place) {
  const [numbers, measured, predicted] = data.panels.rows[place];
  return numbers.map((gene, i) => ({ gene: data.panels.genes[gene], x: measured[i], y: predicted[i] }));
}

function panel(place) {
  const [name, ...values] = data.each[place];
  const box = element("div", "", "panel");
  const chart = element("div", "", "drawn");
  const beside = element("div");
  box.append(element("h4", name), chart, beside);
  beside.append(facts(values));
  if (!data.panels) {
    box.append(element("p", "Effects gene by gene are not in this file.", "note"));
    return box;
  }
  const genes = genesOf(place);
  beside.append(topGenes(genes));
  const { measured, shown: count } = data.panels;
  const some = count < measured ? `The ${count} genes that move most in the data or in the prediction, of ${measured}.` : `All ${measured} genes.`;
  box.append(element("p", `${some} A dot is a gene; on the dashed line it is predicted exactly.`, "note"));
  const ends = genes.flatMap((gene) => [gene.x, gene.y]);
  const low = Math.min(...ends), high = Math.max(...ends);
  const spec = { ...data.genes, datasets: { genes, line: [{ x: low, y: low }, { x: high, y: high }] } };
  // Only what stands in the page has a width.
  requestAnimationFrame(() => draw(chart, spec));
  return box;
}

function perturbations(table) {
  const made = sortable(table, {
    searching: true, paging: data.each.length > 25, info: true, pageLength: 25,
    language: { search: "Search", lengthMenu: "Show _MENU_ rows", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", infoEmpty: "none", zeroRecords: "No perturbation fits." },
    layout: { topStart: "search", topEnd: data.each.length > 25 ? "pageLength" : null, bottomStart: "info", bottomEnd: data.each.length > 25 ? "paging" : null },
  });
  made.rows().every(function () {
    const head = this.node().querySelector("th");
    const button = breakable("button", head.textContent);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    head.dataset.order = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      if (this.child.isShown()) this.child.hide();
      else {
        this.child(panel(Number(this.node().dataset.row)), "child").show();
      }
      button.setAttribute("aria-expanded", String(this.child.isShown()));
    });
  });
  return made;
}

const searchable = [...document.querySelectorAll("table.each")].map(perturbations);
document.querySelectorAll("table.sortable, table.scores").forEach((table) => sortable(table));
if (globalThis.vegaEmbed) {
  drawAll();
  dark.addEventListener("change", drawAll);
}

// Paper has no clicks: all rows and all folds are printed.
const folded = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    folded.push(part);
    part.open = true;
  }
  searchable.forEach((table) => table.page.len(-1).draw());
});
addEventListener("afterprint", () => {
  folded.splice(0).forEach((part) => (part.open = false));
  searchable.forEach((table) => table.page.len(25).draw());
});
