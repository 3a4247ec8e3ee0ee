/**
 * The menu of the status-bar item: the commands that make sense in the current state. commands.ts implements them.
 */
import { commands, QuickPickItemKind, type QuickPickItem, window } from "vscode";
import { paused } from "./pause";
import type { Status } from "./protocol";
import type { Life } from "./service";

interface Entry extends QuickPickItem {
  command?: string;
}

export async function show(life: Life, status: Status | undefined): Promise<void> {
  const language = window.activeTextEditor?.document.languageId;
  const picked = await window.showQuickPick(entries(life, status, language), { title: "Mercury" });
  if (picked?.command) await commands.executeCommand(picked.command);
}

function entries(life: Life, status: Status | undefined, language: string | undefined): Entry[] {
  const line: Entry = { label: "", kind: QuickPickItemKind.Separator };
  return [
    ...(life === "missing" ? [entry("cloud-download", "Install the Server…", "mercury.install")] : []),
    ...(life === "running" ? [...pausing(status, language), line] : []),
    ...(life === "running"
      ? [
          entry("question", "Explain Why Nothing Is Suggested Here", "mercury.explain"),
          entry("graph", "Show Statistics", "mercury.stats"),
        ]
      : []),
    entry("output", "Show Output", "mercury.showOutput"),
    line,
    entry("debug-restart", life === "running" ? "Restart the Server" : "Start the Server", "mercury.restart"),
    entry("gear", "Settings", "mercury.settings"),
    entry("book", "Get Started", "mercury.walkthrough"),
  ];
}

function pausing(status: Status | undefined, language: string | undefined): Entry[] {
  const snoozed = status?.state === "snoozed";
  const time = snoozed
    ? [entry("debug-start", "Resume Suggestions", "mercury.resume")]
    : [entry("debug-pause", "Pause for Ten Minutes", "mercury.snooze")];
  // An older server does not tell whether it is snoozed.
  if (!status) time.push(entry("debug-start", "Resume Suggestions", "mercury.resume"));
  if (!language) return time;
  return paused(language)
    ? [...time, entry("debug-start", `Resume in ${language}`, "mercury.toggleLanguage")]
    : [...time, entry("circle-slash", `Pause in ${language}`, "mercury.toggleLanguage")];
}

const entry = (icon: string, label: string, command: string): Entry => ({ label: `$(${icon}) ${label}`, command });
