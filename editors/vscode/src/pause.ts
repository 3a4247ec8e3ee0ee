/**
 * Reads and writes the setting `mercury.disabled_languages`, which lists the languages without suggestions.
 *
 * The server applies the setting; a pause for some time is a command of the server.
 */
import { ConfigurationTarget, workspace } from "vscode";

const SETTING = "disabled_languages";

const disabledLanguages = (): string[] => workspace.getConfiguration("mercury").get<string[]>(SETTING) ?? [];

export const isPaused = (language: string): boolean => disabledLanguages().includes(language);

/** Switches suggestions in a language off or on, in the workspace's list if it has one, or else in the user's. */
export async function togglePause(language: string): Promise<void> {
  const configuration = workspace.getConfiguration("mercury");
  const inWorkspace = configuration.inspect(SETTING)?.workspaceValue !== undefined;
  const others = disabledLanguages().filter((name) => name !== language);
  const list = isPaused(language) ? others : [...others, language];
  const target = inWorkspace ? ConfigurationTarget.Workspace : ConfigurationTarget.Global;
  await configuration.update(SETTING, list.length || inWorkspace ? list : undefined, target);
}
