/**
 * Reads and writes the setting `mercury.disabled_languages`, which lists the languages without suggestions.
 *
 * The server applies the setting; a pause for some time is a command of the server.
 */
import { ConfigurationTarget, workspace } from "vscode";

const SETTING = "disabled_languages";

const languages = (): string[] => workspace.getConfiguration("mercury").get<string[]>(SETTING) ?? [];

export const paused = (language: string): boolean => languages().includes(language);

/** Switches suggestions in a language off or on, in the workspace's list if it has one, or else in the user's. */
export async function toggle(language: string): Promise<void> {
  const configuration = workspace.getConfiguration("mercury");
  const own = configuration.inspect(SETTING)?.workspaceValue !== undefined;
  const others = languages().filter((name) => name !== language);
  const list = paused(language) ? others : [...others, language];
  const target = own ? ConfigurationTarget.Workspace : ConfigurationTarget.Global;
  await configuration.update(SETTING, list.length || own ? list : undefined, target);
}
