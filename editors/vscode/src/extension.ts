/**
 * Starts the language server, and starts it anew when asked. The server's commands are in commands.ts; all else, ghost
 * text included, is the language client's work.
 */
import { commands, type ExtensionContext, window, workspace } from "vscode";
import { Client, register } from "./commands";

const SECTION = "mercury";
const COMMAND = `${SECTION}.server.command`;

let client: Client | undefined;
let queue: Promise<void> = Promise.resolve(); // a client cannot be stopped while it starts, so one thing at a time

export function activate(context: ExtensionContext): Promise<void> {
  const output = window.createOutputChannel("Mercury", { log: true });

  async function start(): Promise<void> {
    const [command, ...args] = workspace.getConfiguration().get<string[]>(COMMAND) ?? [];
    if (!command) {
      void complain(`The setting ${COMMAND} is empty.`);
      return;
    }
    client = new Client(
      SECTION,
      "Mercury",
      { command, args },
      { documentSelector: [{ scheme: "file" }, { scheme: "untitled" }], outputChannel: output },
    );
    try {
      await client.start();
    } catch (error) {
      client = undefined;
      output.error(String(error));
      void complain(`The server cannot be started with "${command}". Is mercury-lsp installed, and the setting right?`);
    }
  }

  const restart = (): Promise<void> => (queue = queue.then(stop).then(start));

  context.subscriptions.push(
    output,
    ...register(() => client, output),
    commands.registerCommand("mercury.restart", restart),
    commands.registerCommand("mercury.showOutput", () => output.show()),
    workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration(COMMAND)) void restart();
    }),
  );
  return restart();
}

export function deactivate(): Promise<void> {
  return (queue = queue.then(stop));
}

async function stop(): Promise<void> {
  const stopping = client;
  client = undefined;
  // A server that crashed, or is slow to leave, must not keep a new one from starting.
  await stopping?.dispose().catch(() => undefined);
}

async function complain(problem: string): Promise<void> {
  const settings = "Open Settings";
  if ((await window.showErrorMessage(`Mercury: ${problem}`, settings)) === settings) {
    await commands.executeCommand("workbench.action.openSettings", COMMAND);
  }
}
