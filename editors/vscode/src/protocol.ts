/**
 * The server's extensions of LSP: notifications, their parameters, and the client capabilities for them.
 *
 * A server without these extensions works, too; then the status bar shows less, and no previews are drawn.
 */
import { workspace } from "vscode";
import type {
  ClientCapabilities,
  Command,
  Position,
  Range,
  StaticFeature,
  VersionedTextDocumentIdentifier,
} from "vscode-languageclient";

// A notification, and also a request without parameters.
export const STATUS = "mercury/status";
export const DRAFT = "mercury/draft";
// A request of Copilot's protocol.
export const NEXT_EDIT = "textDocument/copilotInlineEdit";
// In a draft, this stands for each undecided token.
export const MASK = "░";

export interface Status {
  state: "loading" | "ready" | "failed" | "off" | "snoozed";
  model: string;
  device: string;
  /** The loaded share, from 0 to 1. */
  fraction?: number;
  /** The end of a snooze, in ISO 8601. */
  until?: string;
  /** The reason for a failure. */
  message?: string;
  /** The hosted model, if any. */
  remote?: { host: string; mode: "always" | "fallback"; breaker: string; told: string };
  median_ms: number | null;
  last: { ms: number; shown: boolean; recalled: boolean; reason: string | null } | null;
}

export interface Draft {
  textDocument: VersionedTextDocumentIdentifier;
  position: Position;
  /** The text that will not change. */
  committed: string;
  /** The rest, with a mask for each undecided token. */
  draft: string;
  pass: number;
  done: boolean;
}

export interface InlineEdit {
  text: string;
  range: Range;
  textDocument: VersionedTextDocumentIdentifier;
  /** The command to run after the edit is made. */
  command: Command;
}

/** Announces to the server which extensions this client supports. */
export const capabilityFeature: StaticFeature = {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    const others = (capabilities.experimental ?? {}) as object;
    const drafts = workspace.getConfiguration().get<boolean>("mercury.drafts") ?? false;
    capabilities.experimental = { ...others, mercury: { status: true, drafts, nextEdit: true } };
  },
  initialize: () => undefined,
  getState: () => ({ kind: "static" }),
  clear: () => undefined,
};
