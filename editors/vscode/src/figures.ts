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
const MAX_ROWS = 10;
// The most bars of the chart.
const MAX_DAYS = 60;
// The height of the chart, the width of a bar and the gap between bars, in SVG units.
const [CHART_HEIGHT, BAR_WIDTH, BAR_GAP] = [120, 14, 4];

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
export function renderPage(figures: Figures | undefined, days: number | undefined, nonce: string): string {
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
<nav>${PERIODS.map((period) => renderLink(period, period === days)).join("")}</nav>
${figures ? renderBody(figures) : "<p>The server does not answer. Is it running, and of this version?</p>"}
<footer>Counted on this machine, and kept on it: counts and times, never code. Setting mercury.history_days to 0 ends it.</footer>
</body>
</html>`;
}

function renderBody({ all, by_language, by_day, nothing_because }: Figures): string {
  if (all.requests === 0) return "<p>Nothing is recorded in this time. Open a file and type.</p>";
  const acceptanceNote = all.shown ? `${formatCount(all.accepted + all.partly)} of ${formatCount(all.shown)} shown` : "none was shown";
  const latencyNote = all.latency_ms.p95 === null ? "" : `95 of 100 within ${formatMs(all.latency_ms.p95)}`;
  return `
<section class="tiles">
${renderTile(formatPercent(all.acceptance), "accepted", acceptanceNote)}
${renderTile(formatMs(all.latency_ms.p50), "median latency", latencyNote)}
${renderTile(formatCount(all.characters_saved), "characters not typed", `${formatCount(all.from_memory)} answers from memory`)}
</section>
<h2>By day</h2>
${renderChart(by_day)}
<h2>By language</h2>
${renderLanguages(by_language)}
<h2>Why nothing was shown</h2>
${renderCauses(nothing_because)}`;
}

function renderLink(period: number | undefined, current: boolean): string {
  const text = period ? `${period} days` : "All";
  const target = `command:mercury.stats${period ? `?${encodeURIComponent(JSON.stringify([period]))}` : ""}`;
  return current ? `<b>${text}</b>` : `<a href="${target}">${text}</a>`;
}

const renderTile = (figure: string, label: string, note: string): string =>
  `<div class="tile"><strong>${figure}</strong><span>${label}</span><small>${note}</small></div>`;

/** Draws a bar for each of the last days: shown suggestions, and darker the accepted ones. */
function renderChart(by_day: Record<string, Group>): string {
  const days = Object.entries(by_day).slice(-MAX_DAYS);
  const most = Math.max(1, ...days.map(([, group]) => group.shown));
  const bars = days.map(([day, { shown, accepted, partly }], index) => {
    const x = index * (BAR_WIDTH + BAR_GAP);
    const bar = (kind: string, value: number): string => {
      const height = (CHART_HEIGHT * value) / most;
      return `<rect class="${kind}" x="${x}" y="${(CHART_HEIGHT - height).toFixed(1)}" width="${BAR_WIDTH}" height="${height.toFixed(1)}"/>`;
    };
    const title = `${escapeHtml(day)}: ${formatCount(shown)} shown, ${formatCount(accepted + partly)} accepted`;
    return `<g><title>${title}</title>${bar("shown", shown)}${bar("accepted", accepted + partly)}</g>`;
  });
  const [first, last] = [days[0]?.[0] ?? "", days.at(-1)?.[0] ?? ""];
  const width = days.length * (BAR_WIDTH + BAR_GAP);
  return `<figure><svg role="img" aria-label="Suggestions by day" width="${width}" height="${CHART_HEIGHT}" viewBox="0 0 ${width} ${CHART_HEIGHT}">
${bars.join("\n")}
</svg>
<figcaption>${escapeHtml(first === last ? first : `${first} to ${last}`)}, up to ${formatCount(most)} a day
<span class="key shown"></span>shown <span class="key accepted"></span>accepted</figcaption></figure>`;
}

function renderLanguages(by_language: Record<string, Group>): string {
  const rows = Object.entries(by_language).slice(0, MAX_ROWS).map(
    ([name, group]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td>${formatCount(group.shown)}</td>` +
      `<td>${formatCount(group.accepted + group.partly)}</td><td>${formatPercent(group.acceptance)}</td>` +
      `<td>${formatMs(group.latency_ms.p50)}</td><td>${formatCount(group.characters_saved)}</td></tr>`,
  );
  const headers = ["shown", "accepted", "rate", "median", "not typed"].map((head) => `<th scope="col">${head}</th>`);
  return `<table><thead><tr><th scope="col">language</th>${headers.join("")}</tr></thead><tbody>${rows.join("\n")}</tbody></table>`;
}

function renderCauses(nothing_because: Record<string, number>): string {
  const entries = Object.entries(nothing_because).slice(0, MAX_ROWS);
  if (entries.length === 0) return "<p>Each request had an answer.</p>";
  const most = Math.max(...entries.map(([, times]) => times));
  const rows = entries.map(
    ([cause, times]) =>
      `<tr><th scope="row">${escapeHtml(CAUSES[cause] ?? cause)}</th><td>${formatCount(times)}</td>` +
      `<td class="bar"><svg width="240" height="10"><rect class="shown" width="${((240 * times) / most).toFixed(1)}" height="10"/></svg></td></tr>`,
  );
  return `<table>${rows.join("\n")}</table>`;
}

const formatCount = (value: number): string => value.toLocaleString("en");
const formatPercent = (share: number | null): string => (share === null ? "–" : `${Math.round(100 * share)}%`);
const formatMs = (value: number | null): string => (value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

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
