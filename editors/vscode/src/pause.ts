/**
 * Which languages nothing is suggested in: the setting `mercury.disabled_languages`, read and written.
 *
 * The server obeys the setting; pausing for a time is a command of its own.
 */
import { ConfigurationTarget, workspace } from "vscode";

const SETTING = "disabled_languages";

const languages = (): string[] => workspace.getConfiguration("mercury").get<string[]>(SETTING) ?? [];

export const paused = (language: string): boolean => languages().includes(language);

/** Pauses for a language, or ends that; where the workspace has a list of its own, there. */
export async function toggle(language: string): Promise<void> {
  const configuration = workspace.getConfiguration("mercury");
  const own = configuration.inspect(SETTING)?.workspaceValue !== undefined;
  const others = languages().filter((name) => name !== language);
  const list = paused(language) ? others : [...others, language];
  const target = own ? ConfigurationTarget.Workspace : ConfigurationTarget.Global;
  await configuration.update(SETTING, list.length || own ? list : undefined, target);
}
