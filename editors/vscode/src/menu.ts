/**
 * The menu of the status-bar item: the commands that make sense in the current state. commands.ts implements them.
 */
import { commands, QuickPickItemKind, type QuickPickItem, window } from "vscode";
import { isPaused } from "./pause";
import type { Status } from "./protocol";
import type { ServiceState } from "./service";

interface MenuEntry extends QuickPickItem {
  command?: string;
}

export async function showMenu(serviceState: ServiceState, status: Status | undefined): Promise<void> {
  const language = window.activeTextEditor?.document.languageId;
  const picked = await window.showQuickPick(menuEntries(serviceState, status, language), { title: "Mercury" });
  if (picked?.command) await commands.executeCommand(picked.command);
}

function menuEntries(serviceState: ServiceState, status: Status | undefined, language: string | undefined): MenuEntry[] {
  const separator: MenuEntry = { label: "", kind: QuickPickItemKind.Separator };
  return [
    ...(serviceState === "missing" ? [entry("cloud-download", "Install the Server…", "mercury.install")] : []),
    ...(serviceState === "running" ? [...pauseEntries(status, language), separator] : []),
    ...(serviceState === "running"
      ? [
          entry("question", "Explain Why Nothing Is Suggested Here", "mercury.explain"),
          entry("graph", "Show Statistics", "mercury.stats"),
        ]
      : []),
    entry("output", "Show Output", "mercury.showOutput"),
    separator,
    entry("debug-restart", serviceState === "running" ? "Restart the Server" : "Start the Server", "mercury.restart"),
    entry("gear", "Settings", "mercury.settings"),
    entry("book", "Get Started", "mercury.walkthrough"),
  ];
}

function pauseEntries(status: Status | undefined, language: string | undefined): MenuEntry[] {
  const snoozed = status?.state === "snoozed";
  const items = snoozed
    ? [entry("debug-start", "Resume Suggestions", "mercury.resume")]
    : [entry("debug-pause", "Pause for Ten Minutes", "mercury.snooze")];
  // An older server does not tell whether it is snoozed.
  if (!status) items.push(entry("debug-start", "Resume Suggestions", "mercury.resume"));
  if (!language) return items;
  return isPaused(language)
    ? [...items, entry("debug-start", `Resume in ${language}`, "mercury.toggleLanguage")]
    : [...items, entry("circle-slash", `Pause in ${language}`, "mercury.toggleLanguage")];
}

const entry = (icon: string, label: string, command: string): MenuEntry => ({ label: `$(${icon}) ${label}`, command });
