/**
 * Registers the commands of the palette, the menu and the server's items, once for each window.
 *
 * The commands stay registered while the server restarts; a command of the server is sent to the running server.
 */
import { commands, type Disposable, type ExtensionContext, type LogOutputChannel, window } from "vscode";
import { askForSource, install } from "./install";
import { showMenu } from "./menu";
import { togglePause } from "./pause";
import type { Service } from "./service";
import { Statistics } from "./stats";
import { formatTime, type StatusBar } from "./status";

export const SETTINGS = "@ext:mercury-lsp.mercury-lsp";
const WALKTHROUGH = "mercury-lsp.mercury-lsp#start";
const NO_ANSWER = "The server is not running, or is too old for this.";

export interface Dependencies {
  context: ExtensionContext;
  output: LogOutputChannel;
  service: Service;
  status: StatusBar;
  /** The folder of the extension's own Python environment for the server. */
  environment: string;
}

type Handler = (...args: never[]) => unknown;

export function registerCommands({ context, output, service, status, environment }: Dependencies): void {
  const statistics = new Statistics(service);

  async function explain(...args: unknown[]): Promise<unknown> {
    const editor = window.activeTextEditor;
    if (args.length === 0 && editor) args = [editor.document.uri.toString(), editor.selection.active];
    const sentence = await service.run("mercury.explain", args);
    void window.showInformationMessage(`Mercury: ${typeof sentence === "string" ? sentence : NO_ANSWER}`);
    return sentence;
  }

  async function snooze(...args: unknown[]): Promise<unknown> {
    const until = await service.run("mercury.snooze", args);
    const message = typeof until === "string" ? `No suggestions until ${formatTime(until)}.` : NO_ANSWER;
    void window.showInformationMessage(`Mercury: ${message}`);
    return until;
  }

  async function toggleLanguage(): Promise<void> {
    const language = window.activeTextEditor?.document.languageId;
    if (language) await togglePause(language);
    else void window.showInformationMessage("Mercury: Open a file of the language first.");
  }

  async function installServer(source?: unknown): Promise<boolean> {
    const from = typeof source === "string" ? source : await askForSource();
    if (!from) return false;
    // Windows cannot replace the file of a running program.
    await service.stop();
    const succeeded = await install(from, environment, output);
    await service.restart();
    return succeeded;
  }

  const handlers: Record<string, Handler> = {
    "mercury.accepted": (...args: unknown[]) => service.run("mercury.accepted", args),
    "mercury.explain": explain,
    "mercury.snooze": snooze,
    "mercury.resume": () => service.run("mercury.resume"),
    "mercury.stats": (days?: unknown) => statistics.show(typeof days === "number" ? days : undefined),
    "mercury.toggleLanguage": toggleLanguage,
    "mercury.install": installServer,
    "mercury.restart": () => service.restart(),
    "mercury.showOutput": () => output.show(),
    "mercury.settings": () => commands.executeCommand("workbench.action.openSettings", SETTINGS),
    "mercury.walkthrough": () => commands.executeCommand("workbench.action.openWalkthrough", WALKTHROUGH, false),
    "mercury.menu": () => showMenu(service.state, status.status),
  };
  context.subscriptions.push(statistics);
  for (const [name, handler] of Object.entries(handlers)) {
    context.subscriptions.push(...tryToRegister(() => commands.registerCommand(name, handler as (...args: unknown[]) => unknown), output));
  }
}

/** Registers a command, or warns if another extension has a command of the same name. */
function tryToRegister(registration: () => Disposable, output: LogOutputChannel): Disposable[] {
  try {
    return [registration()];
  } catch (error) {
    output.warn(String(error));
    return [];
  }
}
