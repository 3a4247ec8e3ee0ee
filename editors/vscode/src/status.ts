/**
 * The status-bar item: shows the server's state and latency.
 *
 * Its sources are the service's state, the server's `mercury/status` if the server has it, and the language of the
 * active editor.
 */
import { type Disposable, MarkdownString, StatusBarAlignment, type StatusBarItem, ThemeColor, window } from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { isPaused } from "./pause";
import { type Status, STATUS } from "./protocol";
import type { Service, ServiceState } from "./service";

interface StatusText {
  icon: string;
  short: string;
  long: string;
  color?: "warning" | "error";
}

export class StatusBar implements Disposable {
  private readonly item: StatusBarItem;
  private readonly listeners: Disposable[];
  private timer: NodeJS.Timeout | undefined;
  private last: Status | undefined;

  constructor(private readonly service: Service) {
    this.item = window.createStatusBarItem("mercury.status", StatusBarAlignment.Right, 100);
    this.item.name = "Mercury";
    this.item.command = "mercury.menu";
    this.listeners = [
      service.onDidChange(() => this.refresh()),
      window.onDidChangeActiveTextEditor(() => this.draw()),
    ];
    this.draw();
    this.item.show();
  }

  /** The last status of the running server, if the server reports its status. */
  get status(): Status | undefined {
    return this.last;
  }

  listen(client: LanguageClient): void {
    client.onNotification(STATUS, (status: Status) => this.update(status));
  }

  /** Requests the status, because the server notifies only changes. */
  async refresh(): Promise<void> {
    this.last = undefined;
    this.draw();
    const client = this.service.client;
    // An older server does not know the request.
    const status = await client?.sendRequest<Status>(STATUS).catch(() => undefined);
    if (status && client === this.service.client) this.update(status);
  }

  draw(): void {
    const language = window.activeTextEditor?.document.languageId;
    const { icon, short, long, color } = statusText(this.service.state, this.last, language);
    this.item.text = `$(${icon}) Mercury${short && ` ${short}`}`;
    this.item.tooltip = tooltip(long, this.last);
    this.item.accessibilityInformation = { label: `Mercury: ${long}`, role: "button" };
    this.item.backgroundColor = color && new ThemeColor(`statusBarItem.${color}Background`);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.forEach((listener) => listener.dispose());
    this.item.dispose();
  }

  private update(status: Status): void {
    this.last = status;
    clearTimeout(this.timer);
    const wait = status.until ? Date.parse(status.until) - Date.now() : NaN;
    if (status.state === "snoozed" && wait < 0x7fffffff) this.timer = setTimeout(() => this.refresh(), wait + 1000);
    this.draw();
  }
}

export function statusText(serviceState: ServiceState, status: Status | undefined, language: string | undefined): StatusText {
  if (serviceState === "missing") {
    const long = "The server is not installed. Click to install it, or to name its command.";
    return { icon: "warning", short: "not installed", long, color: "warning" };
  }
  if (serviceState === "starting") return { icon: "loading~spin", short: "starting", long: "The server is starting." };
  if (serviceState === "stopped") {
    const long = "The server is not running. Click to start it anew, or to see its output.";
    return { icon: "error", short: "stopped", long, color: "error" };
  }
  if (status?.state === "failed") {
    return { icon: "error", short: "failed", long: status.message ?? "The model cannot be loaded.", color: "error" };
  }
  if (status?.state === "off") return { icon: "circle-slash", short: "off", long: "Suggestions are switched off." };
  if (status?.state === "snoozed") {
    const until = formatTime(status.until);
    return { icon: "debug-pause", short: `until ${until}`, long: `Nothing is suggested automatically until ${until}.` };
  }
  if (language && isPaused(language)) {
    return { icon: "debug-pause", short: `not in ${language}`, long: `Nothing is suggested in ${language}.` };
  }
  if (status?.state === "loading") {
    const percent = status.fraction === undefined ? "loading" : `${Math.floor(100 * status.fraction)}%`;
    return { icon: "loading~spin", short: percent, long: "The model is being loaded." };
  }
  // The latency of the last answer would flicker at each key.
  const latency = status?.median_ms ?? status?.last?.ms;
  const short = latency === undefined ? "" : formatMs(latency);
  const icon = status?.remote?.host ? "cloud" : "zap";
  return { icon, short, long: status ? "Ready." : "The server is running." };
}

function tooltip(long: string, status: Status | undefined): MarkdownString {
  const content = new MarkdownString().appendMarkdown("**Mercury**\u2002").appendText(long);
  const appendLine = (label: string, text: string): void => {
    content.appendMarkdown(`\n\n${label}: `).appendText(text);
  };
  if (status) {
    appendLine("Model", `${status.model} on ${status.device}`);
    if (status.remote) appendLine("Hosted model", status.remote.told);
    if (status.median_ms !== null) appendLine("Median latency", formatMs(status.median_ms));
    if (status.last) {
      appendLine("Last answer", formatMs(status.last.ms) + (status.last.recalled ? ", from memory" : ""));
      if (!status.last.shown && status.last.reason) appendLine("Nothing was shown", status.last.reason);
    }
  }
  return content;
}

const formatMs = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** Formats an ISO 8601 timestamp as the local hour and minute. */
export function formatTime(moment: string | undefined): string {
  const time = { hour: "2-digit", minute: "2-digit" } as const;
  return moment ? new Date(moment).toLocaleTimeString(undefined, time) : "later";
}
