/**
 * Sends the server only the options that are set in VS Code.
 *
 * VS Code fills in the defaults of all others, which would override the user's own file (`config.json`).
 */
import { type Extension, workspace } from "vscode";
import type { Middleware } from "vscode-languageclient/node";

const SECTION = "mercury";

type Values = Record<string, unknown>;

/** Answers `workspace/configuration` for the section of the server. */
export function told(extension: Extension<unknown>): Middleware["workspace"] {
  const options = names(extension);
  return {
    configuration: (params, token, next) =>
      params.items.every(({ section }) => section === SECTION)
        ? params.items.map(() => set(options))
        : next(params, token),
  };
}

/** The names of the options in package.json; names with a dot belong to the extension. */
function names(extension: Extension<unknown>): string[] {
  const { properties } = (extension.packageJSON as { contributes: { configuration: { properties: Values } } }).contributes
    .configuration;
  return Object.keys(properties)
    .map((name) => name.slice(SECTION.length + 1))
    .filter((name) => !name.includes("."));
}

function set(options: string[]): Values {
  const configuration = workspace.getConfiguration(SECTION);
  const own = options.filter((name) => {
    const found = configuration.inspect(name);
    return [found?.globalValue, found?.workspaceValue, found?.workspaceFolderValue].some((value) => value !== undefined);
  });
  return Object.fromEntries(own.map((name) => [name, configuration.get(name)]));
}
