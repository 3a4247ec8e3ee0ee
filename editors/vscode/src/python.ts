/**
 * Finds a Python that is new enough for the server, and runs its programs; each error message says how to fix it.
 */
import { execFile, spawn } from "node:child_process";
import { promisify } from "node:util";
import { onPath } from "./find";

const OLDEST = [3, 11];
const NAMES = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];

/** A problem that the user can fix; the message says how. */
export class Problem extends Error {}

/** A command that runs Python: a program and its first arguments, such as `py -3`. */
export type Python = readonly [string, ...string[]];

/** Finds a Python that is new enough: the named one, or if none is named, the first on the PATH. */
export async function python(named: string): Promise<Python> {
  const oldest = OLDEST.join(".");
  if (named) {
    if (await fits([named])) return [named];
    throw new Problem(`${named}, which the setting mercury.server.python names, is not Python ${oldest} or newer.`);
  }
  for (const name of NAMES) {
    const file = await onPath(name);
    if (file && (await fits([file]))) return [file];
  }
  const launcher = await onPath("py");
  if (launcher && (await fits([launcher, "-3"]))) return [launcher, "-3"];
  throw new Problem(
    `There is no Python ${oldest} or newer on the PATH. Install it from your system's packages or python.org, ` +
      "or name it in the setting mercury.server.python.",
  );
}

async function fits([file, ...args]: Python): Promise<boolean> {
  const code = `import sys; sys.exit(sys.version_info < (${OLDEST.join(", ")}))`;
  const run = promisify(execFile)(file, [...args, "-I", "-c", code], { timeout: 20_000 });
  return run.then(() => true, () => false);
}

/**
 * Runs a program to its end in the folder `cwd`, which must not be the workspace. `line` is called with each line of the
 * output. If the program fails, the promise is rejected with a `Problem`, whose message `mend` makes from the output; if
 * the signal is aborted, with an abort error.
 */
export function run(
  [file, ...args]: readonly [string, ...string[]],
  cwd: string,
  line: (text: string) => void,
  signal: AbortSignal,
  mend: (printed: string) => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, signal, stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream.setEncoding("utf8").on("data", (text: string) => {
        printed += text;
        const lines = (rest + text).split(/\r?\n/);
        rest = lines.pop() ?? "";
        lines.filter((found) => found.trim()).forEach(line);
      });
      stream.on("end", () => rest.trim() && line(rest));
    }
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Problem(mend(printed)))));
  });
}

/** Returns the message for a failure of `python -m venv`. */
export function mendVenv(printed: string): string {
  if (/ensurepip|No module named venv/.test(printed)) {
    return "Python lacks its module venv. On Debian and Ubuntu: sudo apt-get install python3-venv. Then try again.";
  }
  return `Python could not make an environment: ${last(printed)}`;
}

/** Returns the message for a failure of `pip install`. */
export function mendPip(printed: string): string {
  if (/No matching distribution|Could not find a version/.test(printed)) {
    return (
      "pip finds no such package for this Python. Check the connection to its index, or install from a folder or a " +
      "wheel that you have."
    );
  }
  if (/No space left/.test(printed)) return "The disk is full. Make room, and try again.";
  if (/Temporary failure in name resolution|NewConnectionError|ConnectTimeout|ProxyError/.test(printed)) {
    return "pip cannot reach its index. Check the network and its proxy, or install from a wheel that you have.";
  }
  return `pip failed: ${last(printed)}`;
}

const last = (printed: string): string => printed.trim().split(/\r?\n/).at(-1) ?? "it said nothing.";
