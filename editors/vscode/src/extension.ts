/**
 * Connects the parts of the extension: the server's service, the status bar, the previews, the next edit, the commands.
 *
 * The language client draws ghost text by itself.
 */
import { commands, type ExtensionContext, window, workspace } from "vscode";
import type { Middleware } from "vscode-languageclient/node";
import { register } from "./commands";
import { Drafts } from "./drafts";
import { find } from "./find";
import { NextEdit } from "./nextEdit";
import { Service } from "./service";
import { told } from "./settings";
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
    middleware: { ...ending(drafts), workspace: told(context.extension) },
    find: () => find({ setting: setting(), workspace: trusted(), own: environment }),
    prepare: (client) => {
      status.listen(client);
      drafts.listen(client);
    },
    complain: (sentence) => void complain(sentence),
  });
  service = running;
  const status = new StatusBar(running);
  register({ context, output, service: running, status, environment });
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
      if (running.life === "missing") void running.restart();
    }),
    running.onDidChange((life) => {
      void commands.executeCommand("setContext", "mercury.life", life);
    }),
  );
  await running.restart();
  if (running.life === "missing") void offer();
}

export function deactivate(): Promise<void> | undefined {
  return service?.stop();
}

const setting = (): string[] => workspace.getConfiguration().get<string[]>(COMMAND) ?? [];

/** The workspace's folders from which a server may be started: none without the user's trust. */
function trusted(): string[] {
  const folders = workspace.isTrusted ? (workspace.workspaceFolders ?? []) : [];
  return folders.filter(({ uri }) => uri.scheme === "file").map(({ uri }) => uri.fsPath);
}

/** Ends a preview when its suggestion comes. */
function ending(drafts: Drafts): Middleware {
  return {
    async provideInlineCompletionItems(document, position, context, token, next) {
      const { version } = document;
      const found = await next(document, position, context, token);
      const items = Array.isArray(found) ? found : (found?.items ?? []);
      if (items.length > 0) drafts.finish(document.uri.toString(), version);
      return found;
    },
  };
}

async function offer(): Promise<void> {
  const sentence = "The server mercury-lsp is not installed here. Shall it be, into an environment of its own?";
  const [install, settings] = ["Install…", "Name Its Command"];
  const answer = await window.showWarningMessage(`Mercury: ${sentence}`, install, settings);
  if (answer === install) await commands.executeCommand("mercury.install");
  if (answer === settings) await commands.executeCommand("workbench.action.openSettings", COMMAND);
}

async function complain(sentence: string): Promise<void> {
  const [output, restart, settings] = ["Show Output", "Restart", "Settings"];
  const answer = await window.showErrorMessage(`Mercury: ${sentence}`, output, restart, settings);
  if (answer === output) await commands.executeCommand("mercury.showOutput");
  if (answer === restart) await commands.executeCommand("mercury.restart");
  if (answer === settings) await commands.executeCommand("workbench.action.openSettings", COMMAND);
}
