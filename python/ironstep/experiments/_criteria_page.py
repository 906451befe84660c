"""The page of `criteria`: a template with $data (JSON) and $what (text)."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Every criterion as the threshold moves</title>
<style>
:root { color-scheme: light dark; --a: #0072b2; --b: #d55e00; --line: #8888; }
@media (prefers-color-scheme: dark) { :root { --a: #56b4e9; --b: #e69f00; } }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; } h2 { font-size: 1rem; margin: .6rem 0 .2rem; }
p { margin: .3rem 0; }
.control { position: sticky; top: 0; background: Canvas; padding: .5rem 0; z-index: 1;
 border-bottom: 1px solid var(--line); }
input[type=range] { width: 100%; accent-color: var(--a); }
output { font-variant-numeric: tabular-nums; font-weight: 600; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .2rem; }
th, td { padding: .2rem .4rem; text-align: right; border-bottom: 1px solid var(--line); }
th[scope=row], thead th:first-child { text-align: left; font-weight: 400; }
td.limits { opacity: .75; } #confusion td { font-size: 1.2rem; }
svg { width: 100%; height: auto; max-width: 24rem; overflow: visible; }
svg text { font-size: 11px; fill: currentColor; }
.axis { stroke: currentColor; fill: none; } .a { stroke: var(--a); fill: none; stroke-width: 2; }
.dash { stroke: currentColor; stroke-dasharray: 2 4; } .point { fill: var(--b); }
.neg { fill: var(--a); opacity: .6; } .pos { fill: var(--b); opacity: .6; }
.cut { stroke: currentColor; stroke-width: 2; }
</style>
</head>
<body>
<h1>Every criterion as the threshold moves</h1>
<p>Patients with a breast mass: $what. A score of at least the threshold is called malignant.
Values with 95% intervals.</p>
<div class="control">
<label for="threshold">Threshold <output id="shown" for="threshold"></output></label>
<input type="range" id="threshold" min="0" step="1" aria-describedby="keys">
<p id="keys">Arrow keys: one patient's score further; Page Up and Page Down: a tenth; Home and End: nobody and
everybody is called malignant.</p>
</div>
<main>
<section>
<table id="confusion"><caption>2×2 table</caption>
<thead><tr><th></th><th scope="col">called malignant</th><th scope="col">called benign</th></tr></thead>
<tbody><tr><th scope="row">is malignant</th><td id="tp"></td><td id="fn"></td></tr>
<tr><th scope="row">is benign</th><td id="fp"></td><td id="tn"></td></tr></tbody></table>
<h2>Scores: benign (below) and malignant (above)</h2>
<svg id="histogram" viewBox="-34 -10 320 130" role="img" aria-label="Histogram of the scores"></svg>
<h2>Without a threshold</h2>
<p>AUC <span id="auc"></span></p>
<p>Average precision <span id="ap"></span></p>
<p><label for="k">Top-k accuracy of ten digits, k = <output id="kshown" for="k"></output>:</label>
<output id="topk"></output>
<input type="range" id="k" min="1" max="10" step="1" value="1"></p>
</section>
<section>
<table><caption>Criteria at the threshold</caption>
<thead><tr><th scope="col"></th><th scope="col">value</th><th scope="col">from</th>
<th scope="col">to</th></tr></thead><tbody id="criteria"></tbody></table>
</section>
<section>
<h2>ROC</h2>
<svg id="roc" viewBox="-34 -10 270 260" role="img" aria-label="ROC curve with the operating point"></svg>
<h2>Precision and recall</h2>
<svg id="pr" viewBox="-34 -10 270 260" role="img" aria-label="Precision over recall with the operating point">
</svg>
</section>
</main>
<noscript><p>The slider needs JavaScript.</p></noscript>
<script type="application/json" id="data">$data</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
function add(parent, kind, attributes, text) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}
function frame(svg, x, y) {
  add(svg, "path", {class: "axis", d: "M0,0V220H220"});
  for (const v of [0, 0.5, 1]) {
    add(svg, "text", {x: 220 * v, y: 233, "text-anchor": "middle"}, v);
    add(svg, "text", {x: -5, y: 220 - 220 * v + 4, "text-anchor": "end"}, v);
  }
  add(svg, "text", {x: 110, y: 247, "text-anchor": "middle"}, x);
  add(svg, "text", {x: -25, y: 110, "text-anchor": "middle", transform: "rotate(-90 -25 110)"}, y);
}
function curve(svg, points) {
  const d = points.map(([x, y], i) => (i ? "L" : "M") + 220 * x + "," + (220 - 220 * y)).join("");
  add(svg, "path", {class: "a", d});
  return add(svg, "circle", {class: "point", r: 6});
}
frame(get("roc"), "false positive rate", "sensitivity");
add(get("roc"), "path", {class: "dash", d: "M0,220L220,0"});
const rocPoint = curve(get("roc"), data.roc);
frame(get("pr"), "recall (sensitivity)", "precision");
const prPoint = curve(get("pr"), data.pr);

const bars = get("histogram"), most = Math.max(...data.histogram.flat());
data.histogram.forEach((counts, label) => counts.forEach((n, i) => {
  const h = 48 * n / most;
  add(bars, "rect", {class: label ? "pos" : "neg", x: 14 * i, width: 13, height: h, y: label ? 50 - h : 50});
}));
add(bars, "path", {class: "axis", d: "M0,50H280"});
for (const v of [0, 0.5, 1]) add(bars, "text", {x: 280 * v, y: 115, "text-anchor": "middle"}, v);
const cut = add(bars, "path", {class: "cut"});

const cells = {};
for (const [name, title] of Object.entries(data.names)) {
  const row = get("criteria").insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = title;
  row.append(head);
  cells[name] = [0, 1, 2].map(i => {
    const cell = row.insertCell();
    if (i) cell.className = "limits";
    return cell;
  });
}
const text = v => v === null ? "\\u2013" : typeof v === "string" ? v : v.toFixed(3);
function place(point, x, y) {
  const known = x !== null && y !== null;
  point.style.display = known ? "" : "none";
  if (known) { point.setAttribute("cx", 220 * x); point.setAttribute("cy", 220 - 220 * y); }
}
const slider = get("threshold");
slider.max = data.rows.length - 1;
slider.value = data.start;
function show() {
  const row = data.rows[slider.value], c = row.criteria;
  const shown = row.threshold > 1 ? "above all scores" : row.threshold.toFixed(4);
  get("shown").textContent = shown;
  slider.setAttribute("aria-valuetext", shown);
  ["tp", "fp", "fn", "tn"].forEach((id, i) => { get(id).textContent = row.table[i]; });
  for (const name in cells) cells[name].forEach((cell, i) => { cell.textContent = text(c[name][i]); });
  place(rocPoint, c.fpr[0], c.sensitivity[0]);
  place(prPoint, c.sensitivity[0], c.ppv[0]);
  const x = 280 * Math.min(row.threshold, 1);
  cut.setAttribute("d", "M" + x + ",-5V105");
}
slider.addEventListener("input", show);
show();
get("auc").textContent = data.auc;
get("ap").textContent = text(data.average_precision);
function showK() {
  get("kshown").textContent = get("k").value;
  get("topk").textContent = text(data.top_k[get("k").value - 1]);
}
get("k").addEventListener("input", showK);
showK();
</script>
</body>
</html>
"""
