#include "report/page.h"

namespace lissom {

const std::string_view kPageStyle = R"css(
:root { color-scheme: light dark; --bg:#fbfbfa; --card:#fff; --ink:#1d2327; --soft:#5d6a73; --line:#dfe3e6;
  --accent:#0b6e99; --good:#1d7a46; --bad:#b3261e; --warn:#8a5a00; --warnbg:#fff6e0; --hot:11,110,153; }
@media (prefers-color-scheme: dark) { :root { --bg:#14181b; --card:#1c2226; --ink:#e7ebee; --soft:#9aa7b0;
  --line:#323b42; --accent:#5cc0ea; --good:#5fd08f; --bad:#ff8a80; --warn:#f0c060; --warnbg:#2d2613;
  --hot:92,192,234; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--bg); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif; }
main { max-width:1120px; margin:0 auto; padding:32px 20px 64px; }
h1 { font-size:26px; margin:0 0 4px; letter-spacing:-.01em; }
h2 { font-size:18px; margin:36px 0 10px; }
h3 { font-size:15px; margin:18px 0 6px; }
p { margin:6px 0; max-width:78ch; } .soft { color:var(--soft); }
code, .num { font-variant-numeric:tabular-nums; }
code { font-family:ui-monospace,"DejaVu Sans Mono",monospace; font-size:.88em; overflow-wrap:anywhere; }
.tiles { display:grid; gap:14px; grid-template-columns:repeat(auto-fit,minmax(230px,1fr)); margin-top:20px; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px; }
.tile .label { color:var(--soft); font-size:13px; } .tile .big { font-size:30px; font-weight:650; line-height:1.2; }
.tile .sub { font-size:13px; color:var(--soft); }
.scroll { overflow-x:auto; border:1px solid var(--line); border-radius:10px; background:var(--card); }
.tall { max-height:560px; overflow-y:auto; }
table { border-collapse:collapse; width:100%; font-size:13.5px; }
th, td { padding:6px 10px; text-align:left; border-bottom:1px solid var(--line); white-space:nowrap; }
tr:last-child td { border-bottom:0; } td.why { white-space:normal; min-width:220px; color:var(--soft); }
th { position:sticky; top:0; background:var(--card); font-weight:600; }
th.n, td.n { text-align:right; font-variant-numeric:tabular-nums; }
.tight th, .tight td { padding:6px 7px; font-size:13px; }
th[data-k] { cursor:pointer; user-select:none; } th[data-k]:hover { color:var(--accent); }
th[aria-sort=ascending]::after { content:" \25B2"; font-size:.75em; }
th[aria-sort=descending]::after { content:" \25BC"; font-size:.75em; }
.ok { color:var(--good); font-weight:600; } .no { color:var(--bad); font-weight:600; }
.note { background:var(--warnbg); border-left:4px solid var(--warn); border-radius:4px; padding:8px 12px;
  margin:8px 0; max-width:none; }
figure { margin:0; background:var(--card); border:1px solid var(--line); border-radius:10px; padding:12px; }
figcaption { color:var(--soft); font-size:13px; } svg { display:block; width:100%; height:auto; }
svg text { fill:var(--ink); font:13px system-ui,"DejaVu Sans",sans-serif; } svg .axis { fill:var(--soft); font-size:12px; }
svg .grid { stroke:var(--line); } svg .source { stroke:var(--soft); stroke-dasharray:5 4; }
svg .dot { fill:var(--accent); } svg .ring { fill:none; stroke:var(--soft); } svg .bar { stroke:var(--accent); stroke-width:1.5; }
svg .path { stroke:var(--accent); stroke-width:1.5; fill:none; opacity:.45; }
svg .cell { fill:rgb(var(--hot)); } svg .bad { fill:var(--bad); } svg .none { fill:none; stroke:var(--line); }
details { margin:12px 0; } summary { cursor:pointer; font-weight:600; padding:4px 0; }
dl { display:grid; grid-template-columns:max-content 1fr; gap:4px 16px; margin:8px 0; } dt { color:var(--soft); }
dd { margin:0; overflow-wrap:anywhere; }
@media print { .tall { max-height:none; } }
)css";

const std::string_view kPageScript = R"js(
for (const th of document.querySelectorAll("th[data-k]")) th.addEventListener("click", () => {
  const table = th.closest("table"), body = table.tBodies[0], i = th.cellIndex;
  const up = th.getAttribute("aria-sort") !== "ascending", numeric = th.dataset.k === "n";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => { const c = row.cells[i], v = c.dataset.v ?? c.textContent; return numeric ? parseFloat(v) : v; };
  const order = (a, b) => {
    if (!numeric) return a.localeCompare(b, undefined, {numeric: true});
    return (isNaN(a) ? -Infinity : a) - (isNaN(b) ? -Infinity : b);
  };
  const rows = [...body.rows].sort((a, b) => order(key(a), key(b)) * (up ? 1 : -1));
  body.append(...rows);
});
)js";

}  // namespace lissom
