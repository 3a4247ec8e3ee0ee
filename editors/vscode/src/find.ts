/**
 * Finds the server: by the setting, or else on the PATH, in a Python environment of the workspace, or in the extension's
 * own environment.
 *
 * Only absolute folders are searched, so that the open folder does not decide which program runs; the workspace is
 * searched only if the user trusts it.
 */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

const WINDOWS = process.platform === "win32";
// The usual names of Python environments in a workspace.
const ENVIRONMENTS = [".venv", "venv", "env"];

export interface ServerCommand {
  command: string;
  args: string[];
  origin: "setting" | "path" | "workspace" | "own";
}

export interface SearchPlaces {
  setting: readonly string[];
  /** The trusted folders of the workspace. */
  workspace: readonly string[];
  /** The folder of the extension's own environment. */
  environment: string;
}

/** Returns the folder of an environment's programs. */
export const programsFolder = (environment: string): string => join(environment, WINDOWS ? "Scripts" : "bin");

/** Finds a program in a folder by its name without `.exe`; undefined if there is no executable file. */
export async function findProgram(folder: string, name: string): Promise<string | undefined> {
  const file = join(folder, WINDOWS ? `${name}.exe` : name);
  return access(file, constants.X_OK).then(() => file, () => undefined);
}

/** Finds a program on the PATH. */
export async function findOnPath(name: string): Promise<string | undefined> {
  return findInFolders(name, (process.env.PATH ?? "").split(delimiter).filter(isAbsolute));
}

export async function findServer({ setting, workspace, environment }: SearchPlaces): Promise<ServerCommand | undefined> {
  const [command, ...args] = setting;
  if (command) return { command, args, origin: "setting" };
  const environments = workspace.flatMap((folder) => ENVIRONMENTS.map((name) => programsFolder(join(folder, name))));
  const places = [
    ["path", () => findOnPath("mercury-lsp")],
    ["workspace", () => findInFolders("mercury-lsp", environments)],
    ["own", () => findProgram(programsFolder(environment), "mercury-lsp")],
  ] as const;
  for (const [origin, search] of places) {
    const file = await search();
    if (file) return { command: file, args: ["--stdio"], origin };
  }
  return undefined;
}

async function findInFolders(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const file = await findProgram(folder, name);
    if (file) return file;
  }
  return undefined;
}
