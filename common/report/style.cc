// The style sheet. Series colours: neighbours differ under deuteranopia and protanopia as well as
// in normal sight, and have a contrast of at least 2.7 with the page (3.8 for the first five).

#include "common/report/style.h"

namespace longrange {
namespace report {

const char* StyleSheet() {
  return R"css(
:root {
  color-scheme: light dark;
  --page: #ffffff; --soft: #f5f7f9; --ink: #1c2128; --muted: #59636e; --rule: #cfd6dd; --grid: #e7ebef;
  --link: #0b5cad; --best: #e9f2fb;
  --c0: #0067b1; --c1: #d9500b; --c2: #00946e; --c3: #8f2f86; --c4: #5a4b00; --c5: #3aa6e0; --c6: #20242a;
  --holds: #116b3a; --holds-soft: #e3f4ea; --fails: #a3182c; --fails-soft: #fbe7e9;
  --unseen: #7a5200; --unseen-soft: #fbf0d9; --unrun: #57606a; --unrun-soft: #eceff2;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14181d; --soft: #1c2229; --ink: #e4e8ec; --muted: #9aa5b1; --rule: #39424c; --grid: #272e36;
    --link: #6cb2f5; --best: #1b3450;
    --c0: #4ba3e8; --c1: #ff8a4d; --c2: #16b890; --c3: #f0a8ec; --c4: #eedc82; --c5: #a8dcff; --c6: #f0f2f5;
    --holds: #6fd79b; --holds-soft: #14301f; --fails: #ff9aa5; --fails-soft: #3c181d;
    --unseen: #f0c668; --unseen-soft: #35290f; --unrun: #a9b3bd; --unrun-soft: #272e36;
  }
}
@media print { :root { color-scheme: light; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans",
    "DejaVu Sans", sans-serif;
  counter-reset: figure table;
}
.page { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
@media (min-width: 1240px) {
  .page {
    max-width: 78rem; display: grid; grid-template-columns: 13rem minmax(0, 1fr); column-gap: 3rem;
    grid-template-rows: auto auto 1fr auto;
  }
  .page > * { grid-column: 2; }
  .page > nav {
    grid-column: 1; grid-row: 1 / span 4; position: sticky; top: 2.5rem; align-self: start; max-height: 90vh;
    overflow-y: auto; border: 0; padding: 0.4rem 0 0; margin: 0; columns: auto; font-size: 0.875rem;
  }
  .page > nav li { padding: 0.15rem 0; }
}
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.4rem; text-wrap: balance; }
h2 { font-size: 1.35rem; line-height: 1.3; letter-spacing: -0.01em; margin: 3rem 0 0.75rem; padding-top: 0.9rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1.08rem; margin: 2rem 0 0.5rem; }
h1, h2, h3, p, li, dd, dt, figcaption, th, td { overflow-wrap: break-word; }
p { margin: 0 0 0.9rem; }
p, ul, .summary { max-width: 46rem; }
ul { padding-left: 1.3rem; margin: 0 0 0.9rem; }
li { margin: 0.15rem 0; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: 2px; }
.subtitle { color: var(--muted); font-size: 1.08rem; }
.note, .notes { color: var(--muted); font-size: 0.875rem; }
code, pre { font: 0.875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono",
  monospace; }
code { background: var(--soft); border-radius: 3px; padding: 0.1em 0.3em; }
pre { background: var(--soft); border: 1px solid var(--rule); border-radius: 6px; padding: 0.8rem 1rem; overflow-x: auto; }
pre code { background: none; padding: 0; font-size: 1em; }
.summary { max-width: none; background: var(--soft); border: 1px solid var(--rule); border-left: 4px solid var(--link);
  border-radius: 6px; padding: 1.1rem 1.3rem; margin: 1.4rem 0; }
.summary > :last-child { margin-bottom: 0; }
.figures { display: flex; flex-wrap: wrap; gap: 0.9rem 2.4rem; margin: 0 0 1rem; }
.figures div { display: flex; flex-direction: column; }
.figures b { font-size: 1.55rem; line-height: 1.2; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.figures span { color: var(--muted); font-size: 0.875rem; }
nav { border: 1px solid var(--rule); border-radius: 6px; padding: 0.8rem 1.3rem; margin: 1.4rem 0; columns: 2;
  column-gap: 2rem; font-size: 0.94rem; }
nav p { margin: 0 0 0.3rem; color: var(--muted); font-weight: 600; font-size: 0.8rem; letter-spacing: 0.06em;
  text-transform: uppercase; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav li { break-inside: avoid; }
nav li.sub { padding-left: 1rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { scroll-margin-top: 1rem; }
dl { display: grid; grid-template-columns: minmax(8rem, 13rem) minmax(0, 1fr); margin: 0 0 1rem; }
dt { color: var(--muted); padding: 0.35rem 1.5rem 0.35rem 0; border-top: 1px solid var(--grid); }
dd { margin: 0; padding: 0.35rem 0; border-top: 1px solid var(--grid); }
.ledger { list-style: none; padding: 0; max-width: none; }
.ledger li { display: flex; justify-content: space-between; align-items: baseline; gap: 1.5rem; margin: 0; padding: 0.35rem 0;
  border-top: 1px solid var(--grid); }
.ledger li > :last-child { flex: none; }
details { border: 1px solid var(--rule); border-radius: 6px; margin: 0 0 0.8rem; padding: 0 1rem; }
details > summary { cursor: pointer; padding: 0.55rem 0; font-weight: 600; }
details[open] > summary { margin-bottom: 0.4rem; }
footer { margin-top: 3.5rem; padding-top: 0.9rem; border-top: 1px solid var(--rule); color: var(--muted);
  font-size: 0.875rem; }
.badge { display: inline-flex; align-items: center; gap: 0.4em; padding: 0.12em 0.65em 0.12em 0.5em; border-radius: 1em;
  font-size: 0.84rem; font-weight: 600; line-height: 1.5; white-space: nowrap; border: 1px solid currentColor; }
.badge svg { flex: none; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round;
  stroke-linejoin: round; }
.holds { color: var(--holds); background: var(--holds-soft); }
.fails { color: var(--fails); background: var(--fails-soft); }
.unseen { color: var(--unseen); background: var(--unseen-soft); }
.unrun { color: var(--unrun); background: var(--unrun-soft); }

figure { margin: 1.6rem 0 2rem; }
figcaption { font-size: 0.94rem; line-height: 1.5; max-width: 46rem; }
figure.chart > figcaption { margin-top: 0.7rem; }
figure.table > figcaption { margin-bottom: 0.6rem; }
figure.chart > figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ". "; font-weight: 600; }
figure.table > figcaption::before { counter-increment: table; content: "Table " counter(table) ". "; font-weight: 600; }
.scroll { overflow-x: auto; }
/* Shadows at the sides where there is more to scroll to: covers move with the content, shadows stay. */
figure.table > .scroll { background:
  linear-gradient(to right, var(--page) 40%, transparent) left / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--page) 40%, transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to right, var(--rule), transparent) left / 0.6rem 100% no-repeat scroll,
  linear-gradient(to left, var(--rule), transparent) right / 0.6rem 100% no-repeat scroll; }
.panels { display: grid; gap: 1.2rem 1.6rem; align-items: end; }
.multiples { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 1.3rem 1.4rem; }
.scale { margin-top: 1.1rem; }
.notes { margin-top: 0.5rem; }
.notes p { margin: 0 0 0.25rem; }

table { border-collapse: separate; border-spacing: 0; font-size: 0.875rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
th, td { padding: 0.34rem 0.6rem; text-align: left; vertical-align: baseline; white-space: nowrap; font-weight: 400; }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; min-width: 3.5rem; }
thead tr:last-child th { border-bottom: 1px solid var(--ink); }
thead th.group { text-align: center; padding-bottom: 0; }
thead th.group span { display: block; border-bottom: 1px solid var(--muted); padding-bottom: 0.2rem; }
tbody tr + tr > * { border-top: 1px solid var(--grid); }
tbody tr.heading > th { padding-top: 0.8rem; font-size: 0.8rem; color: var(--muted); font-weight: 600;
  letter-spacing: 0.03em; }
tbody tr.heading + tr > * { border-top: 1px solid var(--rule); }
tr.heading th span { position: sticky; left: 0.6rem; }
tbody tr:not(.heading):hover > * { background: var(--soft); }
tbody tr:not(.heading) > th, thead tr > :first-child { position: sticky; left: 0; background: var(--page); z-index: 1; }
.n, .center { text-align: center; }
.right { text-align: right; }
.wrap { white-space: normal; min-width: 13rem; max-width: 24rem; }
.n span { display: inline-block; white-space: nowrap; }
.n .w { text-align: right; }
.n .f { text-align: left; }
.n .s { text-align: left; margin-left: 0.55ch; color: var(--muted); font-weight: 400; }
.best .w, .best .f { font-weight: 700; }
.best { background: var(--best); }
.none { color: var(--muted); }

figure svg { display: block; height: auto; }
svg.line-chart { width: 100%; }
.scroll > svg.line-chart { min-width: 32rem; }
svg text { fill: var(--ink); font-family: inherit; font-size: 12px; font-variant-numeric: tabular-nums; }
svg .title { font-size: 15px; font-weight: 600; }
svg .title.small { font-size: 13px; }
svg .label { font-size: 13px; fill: var(--muted); }
svg .label.small { font-size: 12px; }
svg .tick { font-size: 12px; fill: var(--muted); }
svg .tick.small { font-size: 11.5px; }
svg .note { font-size: 12px; fill: var(--muted); font-style: italic; }
svg .name { font-size: 13px; }
svg .edge { font-size: 12px; }
svg .edge, svg .tick { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .vertical { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 3; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
svg .mark { fill: currentColor; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
svg .mark.hollow { fill: var(--page); }
svg .error { stroke: currentColor; stroke-width: 1.2; }
svg .band { fill: currentColor; opacity: 0.16; }
svg .leader { fill: none; stroke: currentColor; stroke-width: 0.8; opacity: 0.55; }
svg .hit { fill: transparent; }
svg .c0 { color: var(--c0); } svg .c1 { color: var(--c1); } svg .c2 { color: var(--c2); } svg .c3 { color: var(--c3); }
svg .c4 { color: var(--c4); } svg .c5 { color: var(--c5); } svg .c6 { color: var(--c6); }
svg .cell { stroke: var(--page); stroke-width: 1; }
svg .missing { fill: var(--soft); stroke: var(--page); stroke-width: 1; }
svg .hatch { stroke: var(--muted); stroke-width: 0.7; opacity: 0.6; }
svg .on { font-size: 12px; }
svg .on.dark { fill: #ffffff; }
svg .on.light { fill: #000000; }
svg .divider { stroke: var(--ink); stroke-width: 1.6; stroke-dasharray: 4 3; }
svg .divider.halo { stroke: var(--page); stroke-width: 4; stroke-dasharray: none; }
@media screen and (max-width: 800px) {
  .wrap { min-width: 10rem; }
  td .badge { white-space: normal; border-radius: 0.9em; }
  td .badge.unseen { min-width: 8rem; }
}
@media (max-width: 640px) {
  .ledger li { flex-direction: column; gap: 0.1rem; }
  .page { padding: 1.4rem 1rem 3rem; }
  nav { columns: 1; }
  dl { grid-template-columns: 1fr; }
  dt { padding-bottom: 0; } dd { border-top: 0; padding-top: 0; }
}
@media print {
  @page { margin: 16mm 14mm; }
  body { font-size: 10pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .page { display: block; max-width: none; padding: 0; }
  nav { display: none; }
  h2 { margin-top: 1.6rem; }
  h2, h3 { break-after: avoid; }
  figure, tr, .summary, .multiples > div { break-inside: avoid; }
  figure.table, figure.chart:has(.multiples) { break-inside: auto; }
  thead { display: table-header-group; }
  .scroll, figure.table > .scroll { overflow: visible; background: none; }
  .scroll > svg.line-chart { min-width: 0; width: 80%; }
  .panels { grid-template-columns: 1fr 1fr !important; }
  table { font-size: 8.5pt; }
  th, td { padding: 0.2rem 0.4rem; }
  a { color: inherit; text-decoration: none; }
}
)css";
}

}  // namespace report
}  // namespace longrange
