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
export function configurationMiddleware(extension: Extension<unknown>): Middleware["workspace"] {
  const options = optionNames(extension);
  return {
    configuration: (params, token, next) =>
      params.items.every(({ section }) => section === SECTION)
        ? params.items.map(() => explicitOptions(options))
        : next(params, token),
  };
}

/** The names of the options in package.json; names with a dot belong to the extension. */
function optionNames(extension: Extension<unknown>): string[] {
  const { properties } = (extension.packageJSON as { contributes: { configuration: { properties: Values } } }).contributes
    .configuration;
  return Object.keys(properties)
    .map((name) => name.slice(SECTION.length + 1))
    .filter((name) => !name.includes("."));
}

function explicitOptions(options: string[]): Values {
  const configuration = workspace.getConfiguration(SECTION);
  const explicitNames = options.filter((name) => {
    const inspected = configuration.inspect(name);
    return [inspected?.globalValue, inspected?.workspaceValue, inspected?.workspaceFolderValue].some((value) => value !== undefined);
  });
  return Object.fromEntries(explicitNames.map((name) => [name, configuration.get(name)]));
}
