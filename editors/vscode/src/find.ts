/**
 * Where the server is: what the setting says, else the PATH, else an environment of Python in the workspace, else the
 * extension's own.
 *
 * Owns the order of these places and the names of files in them. Only absolute places are searched, so that no
 * program is run because of the folder that happens to be open; the workspace's only where the user trusts it.
 */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

const WINDOWS = process.platform === "win32";
const ENVIRONMENTS = [".venv", "venv", "env"]; // their usual names in a workspace

export interface Found {
  command: string;
  args: string[];
  origin: "setting" | "path" | "workspace" | "own";
}

export interface Places {
  setting: readonly string[];
  workspace: readonly string[]; // folders that are trusted
  own: string; // the folder of the extension's own environment
}

/** The folder of an environment's programs. */
export const programs = (environment: string): string => join(environment, WINDOWS ? "Scripts" : "bin");

/** A program in a folder, by its name without `.exe`, or undefined where there is none that can be run. */
export async function program(folder: string, name: string): Promise<string | undefined> {
  const file = join(folder, WINDOWS ? `${name}.exe` : name);
  return access(file, constants.X_OK).then(() => file, () => undefined);
}

/** A program on the PATH. */
export async function onPath(name: string): Promise<string | undefined> {
  return first(name, (process.env.PATH ?? "").split(delimiter).filter(isAbsolute));
}

export async function find({ setting, workspace, own }: Places): Promise<Found | undefined> {
  const [command, ...args] = setting;
  if (command) return { command, args, origin: "setting" };
  const environments = workspace.flatMap((folder) => ENVIRONMENTS.map((name) => programs(join(folder, name))));
  const places = [
    ["path", () => onPath("mercury-lsp")],
    ["workspace", () => first("mercury-lsp", environments)],
    ["own", () => program(programs(own), "mercury-lsp")],
  ] as const;
  for (const [origin, look] of places) {
    const file = await look();
    if (file) return { command: file, args: ["--stdio"], origin };
  }
  return undefined;
}

async function first(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const file = await program(folder, name);
    if (file) return file;
  }
  return undefined;
}
