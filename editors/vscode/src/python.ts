/**
 * Finds a Python that is new enough for the server, and runs its programs; each error message says how to fix it.
 */
import { execFile, spawn } from "node:child_process";
import { promisify } from "node:util";
import { findOnPath } from "./find";

const OLDEST_VERSION = [3, 11];
const PROGRAM_NAMES = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];

/** A problem that the user can fix; the message says how. */
export class FixableError extends Error {}

/** A command that runs Python: a program and its first arguments, such as `py -3`. */
export type Python = readonly [string, ...string[]];

/** Finds a Python that is new enough: the named one, or if none is named, the first on the PATH. */
export async function findPython(configured: string): Promise<Python> {
  const oldest = OLDEST_VERSION.join(".");
  if (configured) {
    if (await isNewEnough([configured])) return [configured];
    throw new FixableError(`${configured}, which the setting mercury.server.python names, is not Python ${oldest} or newer.`);
  }
  for (const name of PROGRAM_NAMES) {
    const file = await findOnPath(name);
    if (file && (await isNewEnough([file]))) return [file];
  }
  const launcher = await findOnPath("py");
  if (launcher && (await isNewEnough([launcher, "-3"]))) return [launcher, "-3"];
  throw new FixableError(
    `There is no Python ${oldest} or newer on the PATH. Install it from your system's packages or python.org, ` +
      "or name it in the setting mercury.server.python.",
  );
}

async function isNewEnough([file, ...args]: Python): Promise<boolean> {
  const code = `import sys; sys.exit(sys.version_info < (${OLDEST_VERSION.join(", ")}))`;
  const check = promisify(execFile)(file, [...args, "-I", "-c", code], { timeout: 20_000 });
  return check.then(() => true, () => false);
}

/**
 * Runs a program to its end in the folder `cwd`, which must not be the workspace. `onLine` is called with each line of
 * the output. If the program fails, the promise is rejected with a `FixableError`, whose message `explainFailure` makes
 * from the output; if the signal is aborted, with an abort error.
 */
export function runProgram(
  [file, ...args]: readonly [string, ...string[]],
  cwd: string,
  onLine: (text: string) => void,
  signal: AbortSignal,
  explainFailure: (output: string) => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, signal, stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const lines = (rest + text).split(/\r?\n/);
        rest = lines.pop() ?? "";
        lines.filter((found) => found.trim()).forEach(onLine);
      });
      stream.on("end", () => rest.trim() && onLine(rest));
    }
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new FixableError(explainFailure(output)))));
  });
}

/** Returns the message for a failure of `python -m venv`. */
export function explainVenvFailure(output: string): string {
  if (/ensurepip|No module named venv/.test(output)) {
    return "Python lacks its module venv. On Debian and Ubuntu: sudo apt-get install python3-venv. Then try again.";
  }
  return `Python could not make an environment: ${lastLine(output)}`;
}

/** Returns the message for a failure of `pip install`. */
export function explainPipFailure(output: string): string {
  if (/No matching distribution|Could not find a version/.test(output)) {
    return (
      "pip finds no such package for this Python. Check the connection to its index, or install from a folder or a " +
      "wheel that you have."
    );
  }
  if (/No space left/.test(output)) return "The disk is full. Make room, and try again.";
  if (/Temporary failure in name resolution|NewConnectionError|ConnectTimeout|ProxyError/.test(output)) {
    return "pip cannot reach its index. Check the network and its proxy, or install from a wheel that you have.";
  }
  return `pip failed: ${lastLine(output)}`;
}

const lastLine = (output: string): string => output.trim().split(/\r?\n/).at(-1) ?? "it said nothing.";
