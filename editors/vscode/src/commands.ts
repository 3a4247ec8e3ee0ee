/**
 * The server's commands, registered once for this window, whichever server is running then.
 *
 * The language client would register each of them for every server that offers it, and VS Code lets a command be
 * registered once only: a second server with the same commands could not start. So the client here does not, and
 * what is run goes to the server of the moment.
 */
import { commands, type Disposable, type LogOutputChannel, window } from "vscode";
import { type DynamicFeature, ExecuteCommandRequest, LanguageClient, type StaticFeature } from "vscode-languageclient/node";

type Feature = StaticFeature | DynamicFeature<unknown>;

export class Client extends LanguageClient {
  override registerFeature(feature: Feature): void {
    const own = "registrationType" in feature && feature.registrationType.method === ExecuteCommandRequest.method;
    if (!own) super.registerFeature(feature);
  }
}

export function register(current: () => LanguageClient | undefined, output: LogOutputChannel): Disposable[] {
  async function run(command: string, args: unknown[]): Promise<unknown> {
    const client = current();
    if (!client?.isRunning()) return undefined;
    try {
      return await client.sendRequest(ExecuteCommandRequest.type, { command, arguments: args });
    } catch (error) {
      output.warn(`${command}: ${String(error)}`);
      return undefined;
    }
  }

  async function explain(...args: unknown[]): Promise<unknown> {
    const editor = window.activeTextEditor;
    if (args.length === 0 && editor) args = [editor.document.uri.toString(), editor.selection.active];
    const sentence = await run("mercury.explain", args);
    void window.showInformationMessage(`Mercury: ${typeof sentence === "string" ? sentence : "The server is not running."}`);
    return sentence;
  }

  async function snooze(...args: unknown[]): Promise<unknown> {
    const until = await run("mercury.snooze", args);
    if (typeof until === "string") {
      void window.showInformationMessage(`Mercury: No suggestions until ${new Date(until).toLocaleTimeString()}.`);
    }
    return until;
  }

  const handlers: Record<string, (...args: unknown[]) => Promise<unknown>> = {
    "mercury.accepted": (...args) => run("mercury.accepted", args),
    "mercury.explain": explain,
    "mercury.snooze": snooze,
    "mercury.resume": (...args) => run("mercury.resume", args),
  };
  const registered: Disposable[] = [];
  for (const [name, handler] of Object.entries(handlers)) {
    try {
      registered.push(commands.registerCommand(name, handler));
    } catch (error) {
      output.warn(String(error)); // another extension has it; suggestions do without
    }
  }
  return registered;
}
