/**
 * Renders the server's figures as an HTML page in the colors of the user's theme, without side effects.
 *
 * All foreign text is escaped, and the page's policy allows nothing but its own style.
 */

export interface Group {
  requests: number;
  shown: number;
  accepted: number;
  partly: number;
  acceptance: number | null;
  latency_ms: { p50: number | null; p95: number | null };
  from_memory: number;
  characters_saved: number;
}

/** The parts of the result of `mercury.stats` that the page shows. */
export interface Figures {
  all: Group;
  by_language: Record<string, Group>;
  by_day: Record<string, Group>;
  nothing_because: Record<string, number>;
}

// In days; undefined means all.
const PERIODS = [7, 30, 90, undefined];
// The most rows of a table.
const MOST = 10;
// The most bars of the chart.
const DAYS = 60;
// The height of the chart, the width of a bar and the gap between bars, in SVG units.
const [HIGH, BAR, GAP] = [120, 14, 4];

const CAUSES: Record<string, string> = {
  superseded: "typing went on",
  cancelled: "the editor withdrew its request",
  withheld: "what the model wrote was not worth showing",
  declined: "the file or the language is not completed",
  snoozed: "suggestions were paused",
  deadline: "the model was too slow",
  loading: "the model was still loading",
  failed: "the model could not be loaded",
  error: "an error of ours",
};

/** Returns the page. `figures`: undefined if the server did not answer. `nonce`: a new random text for each page. */
export function page(figures: Figures | undefined, days: number | undefined, nonce: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'nonce-${nonce}'">
<title>Mercury: Statistics</title>
<style nonce="${nonce}">${STYLE}</style>
</head>
<body>
<h1>Suggestions</h1>
<nav>${PERIODS.map((period) => link(period, period === days)).join("")}</nav>
${figures ? body(figures) : "<p>The server does not answer. Is it running, and of this version?</p>"}
<footer>Counted on this machine, and kept on it: counts and times, never code. Setting mercury.history_days to 0 ends it.</footer>
</body>
</html>`;
}

function body({ all, by_language, by_day, nothing_because }: Figures): string {
  if (all.requests === 0) return "<p>Nothing is recorded in this time. Open a file and type.</p>";
  const share = all.shown ? `${count(all.accepted + all.partly)} of ${count(all.shown)} shown` : "none was shown";
  const slow = all.latency_ms.p95 === null ? "" : `95 of 100 within ${ms(all.latency_ms.p95)}`;
  return `
<section class="tiles">
${tile(percent(all.acceptance), "accepted", share)}
${tile(ms(all.latency_ms.p50), "median latency", slow)}
${tile(count(all.characters_saved), "characters not typed", `${count(all.from_memory)} answers from memory`)}
</section>
<h2>By day</h2>
${chart(by_day)}
<h2>By language</h2>
${languages(by_language)}
<h2>Why nothing was shown</h2>
${causes(nothing_because)}`;
}

function link(period: number | undefined, current: boolean): string {
  const text = period ? `${period} days` : "All";
  const target = `command:mercury.stats${period ? `?${encodeURIComponent(JSON.stringify([period]))}` : ""}`;
  return current ? `<b>${text}</b>` : `<a href="${target}">${text}</a>`;
}

const tile = (figure: string, label: string, note: string): string =>
  `<div class="tile"><strong>${figure}</strong><span>${label}</span><small>${note}</small></div>`;

/** Draws a bar for each of the last days: shown suggestions, and darker the accepted ones. */
function chart(by_day: Record<string, Group>): string {
  const days = Object.entries(by_day).slice(-DAYS);
  const most = Math.max(1, ...days.map(([, group]) => group.shown));
  const bars = days.map(([day, { shown, accepted, partly }], index) => {
    const x = index * (BAR + GAP);
    const bar = (kind: string, value: number): string => {
      const height = (HIGH * value) / most;
      return `<rect class="${kind}" x="${x}" y="${(HIGH - height).toFixed(1)}" width="${BAR}" height="${height.toFixed(1)}"/>`;
    };
    const told = `${escaped(day)}: ${count(shown)} shown, ${count(accepted + partly)} accepted`;
    return `<g><title>${told}</title>${bar("shown", shown)}${bar("accepted", accepted + partly)}</g>`;
  });
  const [first, last] = [days[0]?.[0] ?? "", days.at(-1)?.[0] ?? ""];
  const width = days.length * (BAR + GAP);
  return `<figure><svg role="img" aria-label="Suggestions by day" width="${width}" height="${HIGH}" viewBox="0 0 ${width} ${HIGH}">
${bars.join("\n")}
</svg>
<figcaption>${escaped(first === last ? first : `${first} to ${last}`)}, up to ${count(most)} a day
<span class="key shown"></span>shown <span class="key accepted"></span>accepted</figcaption></figure>`;
}

function languages(by_language: Record<string, Group>): string {
  const rows = Object.entries(by_language).slice(0, MOST).map(
    ([name, group]) =>
      `<tr><th scope="row">${escaped(name)}</th><td>${count(group.shown)}</td>` +
      `<td>${count(group.accepted + group.partly)}</td><td>${percent(group.acceptance)}</td>` +
      `<td>${ms(group.latency_ms.p50)}</td><td>${count(group.characters_saved)}</td></tr>`,
  );
  const heads = ["shown", "accepted", "rate", "median", "not typed"].map((head) => `<th scope="col">${head}</th>`);
  return `<table><thead><tr><th scope="col">language</th>${heads.join("")}</tr></thead><tbody>${rows.join("\n")}</tbody></table>`;
}

function causes(nothing_because: Record<string, number>): string {
  const found = Object.entries(nothing_because).slice(0, MOST);
  if (found.length === 0) return "<p>Each request had an answer.</p>";
  const most = Math.max(...found.map(([, times]) => times));
  const rows = found.map(
    ([cause, times]) =>
      `<tr><th scope="row">${escaped(CAUSES[cause] ?? cause)}</th><td>${count(times)}</td>` +
      `<td class="bar"><svg width="240" height="10"><rect class="shown" width="${((240 * times) / most).toFixed(1)}" height="10"/></svg></td></tr>`,
  );
  return `<table>${rows.join("\n")}</table>`;
}

const count = (value: number): string => value.toLocaleString("en");
const percent = (share: number | null): string => (share === null ? "–" : `${Math.round(100 * share)}%`);
const ms = (value: number | null): string => (value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);
const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const STYLE = `
body { max-width: 46rem; margin: 0 auto; padding: 1rem 2rem 2rem; line-height: 1.5; }
h1 { font-size: 1.6em; font-weight: 600; margin: 0.5rem 0; }
h2 { font-size: 1.1em; font-weight: 600; margin: 2rem 0 0.5rem; }
nav > * { margin-right: 1.2em; }
a { text-decoration: none; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; margin-top: 1.5rem; }
.tile { display: flex; flex-direction: column; padding: 1rem; border-radius: 6px;
  border: 1px solid var(--vscode-widget-border, var(--vscode-panel-border)); background: var(--vscode-editorWidget-background); }
.tile strong { font-size: 2em; font-weight: 600; line-height: 1.2; }
small, figcaption, footer { color: var(--vscode-descriptionForeground); }
figure { margin: 0; }
figcaption { margin-top: 0.5rem; }
svg { display: block; max-width: 100%; border-bottom: 1px solid var(--vscode-descriptionForeground); }
rect.shown { fill: var(--vscode-charts-blue); opacity: 0.35; }
rect.accepted { fill: var(--vscode-charts-blue); }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.4em 0 1.2em; background: var(--vscode-charts-blue); }
.key.shown { opacity: 0.35; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.3rem 0.5rem; text-align: right; font-variant-numeric: tabular-nums; font-weight: normal; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--vscode-descriptionForeground); }
tbody tr { border-top: 1px solid var(--vscode-widget-border, var(--vscode-panel-border)); }
td.bar { width: 240px; }
td.bar svg { border: 0; }
footer { margin-top: 2.5rem; font-size: 0.9em; }
`;
