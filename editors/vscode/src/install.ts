/**
 * Installs the server into an environment of its own in the extension's storage: from PyPI, a folder or a wheel.
 *
 * The environment is created again at each installation, and removed after a failure. Nothing is downloaded unless the
 * user asks for it.
 */
import { mkdir, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { type LogOutputChannel, type OpenDialogOptions, ProgressLocation, type QuickPickItem, Uri, window, workspace } from "vscode";
import { program, programs } from "./find";
import { mendPip, mendVenv, Problem, python, run } from "./python";

interface Choice extends QuickPickItem {
  source: () => Promise<string | undefined>;
}

/** Asks the user for the source of the installation; undefined if the user cancels. */
export async function chosenSource(): Promise<string | undefined> {
  const usual = workspace.getConfiguration("mercury").get<string>("server.package") || "mercury-lsp";
  const choices: Choice[] = [
    {
      label: "$(cloud-download) Install",
      description: usual,
      detail: "Downloads the server, its model and what they need by pip, once: about 200 MB.",
      source: () => Promise.resolve(usual),
    },
    {
      label: "$(folder) From a Folder…",
      detail: "A checkout of the project; it is built, which takes a minute.",
      source: () => open({ canSelectFolders: true, canSelectFiles: false, title: "The project's folder" }),
    },
    {
      label: "$(file-zip) From a Wheel…",
      detail: "A file mercury_lsp-….whl",
      source: () => open({ filters: { Wheels: ["whl"] }, title: "The server's wheel" }),
    },
  ];
  const title = "Install the Mercury server, into an environment of its own";
  return (await window.showQuickPick(choices, { title, ignoreFocusOut: true }))?.source();
}

async function open(options: OpenDialogOptions): Promise<string | undefined> {
  const files = await window.showOpenDialog({ ...options, defaultUri: Uri.file(homedir()) });
  return files?.[0]?.fsPath;
}

/** Creates the environment, with progress that can be cancelled; shows errors, and returns whether it succeeded. */
export async function install(source: string, folder: string, output: LogOutputChannel): Promise<boolean> {
  const options = { location: ProgressLocation.Notification, title: "Mercury", cancellable: true };
  return window.withProgress(options, async (progress, token) => {
    const aborter = new AbortController();
    token.onCancellationRequested(() => aborter.abort());
    try {
      await make(source, folder, (message) => progress.report({ message }), output, aborter.signal);
      return true;
    } catch (error) {
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
      if (!aborter.signal.aborted) void complain(error, output);
      return false;
    }
  });
}

async function make(
  source: string,
  folder: string,
  say: (message: string) => void,
  output: LogOutputChannel,
  signal: AbortSignal,
): Promise<void> {
  const log = (line: string): void => output.info(line);
  say("looking for Python");
  const found = await python(workspace.getConfiguration("mercury").get<string>("server.python") ?? "");
  say("making an environment");
  // Isolated mode (-I) and a folder of our own, so that no `venv.py` or `pip.py` of the workspace or PYTHONPATH runs.
  const home = dirname(folder);
  await mkdir(home, { recursive: true });
  await run([...found, "-I", "-m", "venv", "--clear", folder], home, log, signal, mendVenv);
  const own = await program(programs(folder), "python");
  if (!own) throw new Problem(`There is no Python in ${folder}, though it was made there.`);
  say(`installing ${source}`);
  const told = (line: string): void => {
    log(line);
    const step = /^\s*(Collecting|Downloading|Building|Installing|Preparing) [^\s(]+/.exec(line)?.[0];
    if (step) say(step.trim().toLowerCase());
  };
  const pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
  await run([own, ...pip, source], home, told, signal, mendPip);
  const server = await program(programs(folder), "mercury-lsp");
  if (!server) throw new Problem(`${source} was installed, but has no program mercury-lsp. Is it the right package?`);
  say("trying it");
  await run([server, "--version"], home, log, signal, () => `${server} does not start; the output tells why.`);
}

async function complain(error: unknown, output: LogOutputChannel): Promise<void> {
  const sentence = error instanceof Problem ? error.message : `The server could not be installed: ${String(error)}`;
  output.error(sentence);
  if (await window.showErrorMessage(`Mercury: ${sentence}`, "Show Output")) output.show();
}
