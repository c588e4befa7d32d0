#include "reports/html_style.h"

namespace sparity::reports {

std::string_view stylesheet() {
  return R"(
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --wash: #f2f2ee; --line: #dcdcd5; --edge: #8a8a83;
  --ink: #1d1d1b; --quiet: #5a5a54; --link: #1a559e;
  --pass: #1a6a3a; --fail: #b3261e; --warn: #835000; --skip: #4d5b69; --odd: #6d3592;
  --candidate: #1a5fb4; --baseline: #6a6a64; --predicted: #a04a00;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161615; --card: #1d1d1b; --wash: #262624; --line: #3a3a36; --edge: #85857d;
    --ink: #ecece7; --quiet: #adada5; --link: #8fbcf5;
    --pass: #74cb95; --fail: #ff8b82; --warn: #e6b660; --skip: #a9b7c4; --odd: #d3a8f1;
    --candidate: #83b8f7; --baseline: #b5b5ad; --predicted: #f1a963;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans",
    Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
main, nav, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
section { margin: 0 0 2.75rem; }
h1, h2, h3, h4, h5 { line-height: 1.25; font-weight: 600; margin: 0; }
h2 { font-size: 1.2rem; margin-bottom: .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .6rem; }
h4 { font-size: .95rem; margin: 1.75rem 0 .6rem; }
h5 { font-size: .85rem; margin: 1.25rem 0 .4rem; color: var(--quiet); }
p { margin: 0 0 .75rem; max-width: 46rem; }
a { color: var(--link); text-underline-offset: .15em; text-decoration-thickness: .06em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 2px; }
code, pre { font-family: var(--mono); font-size: .86em; }
.quiet { color: var(--quiet); font-weight: 400; }
.skip-link { position: absolute; left: -100rem; }
.skip-link:focus { left: 1rem; top: .5rem; background: var(--card); padding: .25rem .75rem; }
.shapes { position: absolute; }
.cut { stroke: var(--card); }
nav { padding-top: 1rem; font-size: .87rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; margin: 0;
  padding: 0 0 .75rem; border-bottom: 1px solid var(--line); }
nav a { display: inline-block; padding: .2rem 0; color: var(--quiet); text-decoration: none; }
nav a:hover { color: var(--ink); text-decoration: underline; }

.pass { color: var(--pass); } .fail { color: var(--fail); } .warn { color: var(--warn); }
.skip { color: var(--skip); } .odd { color: var(--odd); }
.st { white-space: nowrap; font-weight: 600; }
.i { width: 1em; height: 1em; margin-right: .4em; vertical-align: -.13em; }

.banner { margin-top: 1.75rem; padding-left: 1.25rem; border-left: 5px solid currentColor; }
/* The border takes its colour from the verdict, the content does not. */
:where(.banner, .card) > * { color: var(--ink); }
.banner .subject { color: var(--quiet); margin: 0; font-size: .87rem; }
.banner h1 { font-size: 2rem; letter-spacing: -.01em; margin: .15rem 0 .4rem; color: inherit; }
.banner h1 .i { width: .8em; height: .8em; vertical-align: -.06em; }
.banner .why { font-size: 1.05rem; }
.notice { padding: .5rem .8rem; background: var(--wash); border-left: 3px solid var(--warn); }
.leads { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .5rem 1.25rem;
  margin: 1rem 0 0; }
.leads dt { color: var(--quiet); font-size: .87rem; padding-top: .1rem; }
.leads dd { margin: 0; }
.plain { list-style: none; margin: 0; padding: 0; }

.counts { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.4rem, 1fr));
  gap: .75rem 1rem; margin: 0; padding: .9rem 0; border: solid var(--line);
  border-width: 1px 0; }
.counts div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.counts dt { font-size: .78rem; color: var(--quiet); }
.counts dd { margin: 0; font-size: 1.3rem; font-weight: 600; line-height: 1.3; }

.box { overflow-x: auto; margin: 0 0 .75rem; }
table { border-collapse: collapse; font-size: .87rem; min-width: 100%; overflow-wrap: normal; }
th, td { padding: .36rem .9rem .36rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); font-weight: 400; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--quiet); font-size: .78rem; border-bottom-color: var(--edge); }
tbody tr:hover { background: var(--wash); }
tr:target, details:target > summary { background: var(--wash); }
.n { text-align: right; }
.note { display: block; min-width: 15rem; white-space: normal; overflow-wrap: anywhere;
  color: var(--quiet); }
.hr { display: inline-flex; align-items: center; gap: .6rem; }
.bar { width: 7rem; height: .55rem; flex: none; }
.bar .track { fill: var(--line); } .bar .within { fill: var(--edge); }
.bar .over { fill: var(--fail); }
.bar .forward { fill: var(--candidate); } .bar .backward { fill: var(--predicted); }
.bar .mark { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }

.card { background: var(--card); border: 1px solid var(--line); border-left: 5px solid currentColor;
  border-radius: 4px; padding: 1.1rem 1.25rem; margin: 0 0 1.25rem; }
.card:target { outline: 2px solid var(--link); outline-offset: 3px; }
.card h3 { margin: 0 0 .6rem; }
.card h3 b { font-weight: 600; }
.card h3 .st { margin-right: .35rem; }
.evidence { border-top: 1px solid var(--line); margin-top: 1.5rem; }
.evidence h4 { margin-top: 1rem; font-size: 1rem; }
h4 code, .leads dd > code { font-size: .95em; }
.figures { font-size: .82rem; color: var(--quiet); max-width: none; }
.figures data { color: var(--ink); }
pre { margin: 0; padding: .55rem .75rem; background: var(--wash); border-radius: 4px;
  white-space: pre-wrap; }
.cmd { user-select: all; }
.log { max-height: 22rem; overflow: auto; }

details { border-bottom: 1px solid var(--line); }
summary { padding: .45rem 0; cursor: pointer; font-size: .92rem; }
details[open] > summary { margin-bottom: .4rem; }
details > :last-child:not(summary) { margin-bottom: 1rem; }
summary .st { display: inline-block; min-width: 7.5rem; }
.card details, details details { border-bottom: 0; }
.card summary, figure + details summary { color: var(--quiet); font-size: .87rem; }

figure { margin: 0 0 1rem; }
figcaption, .legend { font-size: .82rem; color: var(--quiet); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .2rem 0; max-width: none; }
.swatch { width: 28px; height: 10px; margin-right: .35rem; }
.key.forward { background: var(--candidate); } .key.backward { background: var(--predicted); }
.key.within { background: var(--edge); }
.key { display: inline-block; border: 1px solid var(--edge); width: .75rem; height: .75rem; margin-right: .35rem; vertical-align: -.08rem; }
.plot svg { display: block; width: 100%; min-width: 35rem; max-width: 54rem; }
.plot text { font-size: 11px; font-family: inherit; fill: var(--quiet); }
.plot .end { text-anchor: end; } .plot .mid { text-anchor: middle; }
.grid { stroke: var(--line); fill: none; }
.limit { stroke: var(--fail); stroke-dasharray: 5 3; fill: none; }
.here { stroke: var(--edge); fill: none; }
.plot text.here { fill: var(--ink); stroke: none; font-weight: 600; }
.series path { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; }
.series circle { fill: currentColor; stroke: var(--card); stroke-width: .6; }
.candidate { color: var(--candidate); } .baseline { color: var(--baseline); }
.truth { color: var(--ink); } .series.truth path { stroke-width: 6; opacity: .25; }
.predicted { color: var(--predicted); } .worst { color: var(--candidate); }
.baseline path { stroke-dasharray: 6 3; } .predicted path { stroke-dasharray: 2 2.5; }
.worst path { stroke-dasharray: 1.5 3; }
.worst circle { fill: var(--card); stroke: currentColor; stroke-width: 1.2; }
.heat + .quiet { font-size: .82rem; margin-bottom: .25rem; }
.heat { display: block; width: 100%; max-width: 42rem; border: 1px solid var(--line); }
.way { display: inline-block; min-width: 1.5em; line-height: 1.4; text-align: center;
  font-weight: 600; border: 1px solid currentColor; border-radius: 3px; }
.way.flows { color: var(--paper); background: var(--candidate); border-color: var(--candidate); }
.way.zero { color: var(--predicted); }
.way.none { color: var(--skip); border-style: dashed; }
.many { margin: 0 .6em 0 .3em; }

.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.25rem;
  margin: 0 0 .75rem; font-size: .87rem; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; }
footer { padding-top: 1rem; padding-bottom: 2rem; color: var(--quiet); font-size: .82rem; }

@media (max-width: 40rem) {
  main, nav, footer { padding-left: 1rem; padding-right: 1rem; }
  .banner { padding-left: .9rem; }
  .banner h1 { font-size: 1.6rem; }
  .leads, .facts { grid-template-columns: minmax(0, 1fr); gap: .1rem; }
  .leads dd, .facts dd { margin-bottom: .6rem; }
  .counts { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .card { padding: .9rem; }
  .bar { width: 4.5rem; }
  tbody th { white-space: normal; min-width: 6.5rem; }
  .name { display: block; min-width: 9rem; white-space: normal; overflow-wrap: anywhere; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { --paper: #fff; --card: #fff; --wash: #fff; --line: #bbb; --edge: #777; --ink: #000;
    --quiet: #444; --link: #000; --pass: #0a5a2a; --fail: #a11; --warn: #6b4200; --skip: #444;
    --odd: #552277; --candidate: #0b4a9c; --baseline: #555; --predicted: #8a3f00; }
  body { font-size: 10pt; }
  nav, .skip-link { display: none; }
  main, footer { max-width: none; padding: 0; }
  .card, figure, tr { break-inside: avoid; }
  .card { break-inside: auto; }
  .box, .log { overflow: visible; max-height: none; }
  pre { border: 1px solid var(--line); }
  svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
)";
}

}  // namespace sparity::reports
