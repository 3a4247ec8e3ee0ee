/**
 * What the server is told of the settings: those that somebody has set.
 *
 * VS Code fills in the defaults of all others, and the server would take them for the user's word, over that of their
 * own file (`config.json`).
 */
import { type Extension, workspace } from "vscode";
import type { Middleware } from "vscode-languageclient/node";

const SECTION = "mercury";

type Values = Record<string, unknown>;

/** Answers the server's question for its section. */
export function told(extension: Extension<unknown>): Middleware["workspace"] {
  const options = names(extension);
  return {
    configuration: (params, token, next) =>
      params.items.every(({ section }) => section === SECTION)
        ? params.items.map(() => set(options))
        : next(params, token),
  };
}

/** The server's options, by their names in package.json; names with a point are this extension's own. */
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
