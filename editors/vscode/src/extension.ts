/**
 * Connects the parts of the extension: the server's service, the status bar, the previews, the next edit, the commands.
 *
 * The language client draws ghost text by itself.
 */
import { commands, type ExtensionContext, window, workspace } from "vscode";
import type { Middleware } from "vscode-languageclient/node";
import { registerCommands } from "./commands";
import { Drafts } from "./drafts";
import { findServer } from "./find";
import { NextEdit } from "./nextEdit";
import { Service } from "./service";
import { configurationMiddleware } from "./settings";
import { StatusBar } from "./status";

const COMMAND = "mercury.server.command";
const DRAFTS = "mercury.drafts";

let service: Service | undefined;

export async function activate(context: ExtensionContext): Promise<void> {
  const output = window.createOutputChannel("Mercury", { log: true });
  const environment = `${context.globalStorageUri.fsPath}/server`;
  const drafts = new Drafts();
  const running = new Service({
    output,
    middleware: { ...finishDraftsMiddleware(drafts), workspace: configurationMiddleware(context.extension) },
    findServer: () => findServer({ setting: configuredCommand(), workspace: trustedFolders(), environment }),
    onClientCreated: (client) => {
      status.listen(client);
      drafts.listen(client);
    },
    showError: (sentence) => void showError(sentence),
  });
  service = running;
  const status = new StatusBar(running);
  registerCommands({ context, output, service: running, status, environment });
  context.subscriptions.push(
    output,
    drafts,
    status,
    new NextEdit(running),
    workspace.onDidChangeConfiguration((change) => {
      if ([COMMAND, DRAFTS].some((name) => change.affectsConfiguration(name))) void running.restart();
      if (change.affectsConfiguration("mercury.disabled_languages")) status.draw();
    }),
    workspace.onDidGrantWorkspaceTrust(() => {
      if (running.state === "missing") void running.restart();
    }),
    running.onDidChange((state) => {
      void commands.executeCommand("setContext", "mercury.life", state);
    }),
  );
  await running.restart();
  if (running.state === "missing") void offerInstallation();
}

export function deactivate(): Promise<void> | undefined {
  return service?.stop();
}

const configuredCommand = (): string[] => workspace.getConfiguration().get<string[]>(COMMAND) ?? [];

/** The workspace's folders from which a server may be started: none without the user's trust. */
function trustedFolders(): string[] {
  const folders = workspace.isTrusted ? (workspace.workspaceFolders ?? []) : [];
  return folders.filter(({ uri }) => uri.scheme === "file").map(({ uri }) => uri.fsPath);
}

/** Ends a preview when its suggestion comes. */
function finishDraftsMiddleware(drafts: Drafts): Middleware {
  return {
    async provideInlineCompletionItems(document, position, context, token, next) {
      const { version } = document;
      const result = await next(document, position, context, token);
      const items = Array.isArray(result) ? result : (result?.items ?? []);
      if (items.length > 0) drafts.finish(document.uri.toString(), version);
      return result;
    },
  };
}

async function offerInstallation(): Promise<void> {
  const sentence = "The server mercury-lsp is not installed here. Shall it be, into an environment of its own?";
  const [install, settings] = ["Install…", "Name Its Command"];
  const answer = await window.showWarningMessage(`Mercury: ${sentence}`, install, settings);
  if (answer === install) await commands.executeCommand("mercury.install");
  if (answer === settings) await commands.executeCommand("workbench.action.openSettings", COMMAND);
}

async function showError(sentence: string): Promise<void> {
  const [output, restart, settings] = ["Show Output", "Restart", "Settings"];
  const answer = await window.showErrorMessage(`Mercury: ${sentence}`, output, restart, settings);
  if (answer === output) await commands.executeCommand("mercury.showOutput");
  if (answer === restart) await commands.executeCommand("mercury.restart");
  if (answer === settings) await commands.executeCommand("workbench.action.openSettings", COMMAND);
}
