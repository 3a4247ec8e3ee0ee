/**
 * What the server's protocol has beside LSP: its notifications, their values, and how a client tells that it takes them.
 *
 * A server that lacks them is served as well; then the status bar tells less, and no drafts are drawn.
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

export const STATUS = "mercury/status"; // a notification, and a request without parameters
export const DRAFT = "mercury/draft";
export const NEXT_EDIT = "textDocument/copilotInlineEdit"; // a request, of Copilot's protocol
export const MASK = "░"; // in a draft, for each token that is not decided

export interface Status {
  state: "loading" | "ready" | "failed" | "off" | "snoozed";
  model: string;
  device: string;
  fraction?: number; // of loading, from 0 to 1
  until?: string; // of snoozing, ISO 8601
  message?: string; // of a failure
  remote?: { host: string; mode: "always" | "fallback"; breaker: string; told: string }; // where text is sent elsewhere
  median_ms: number | null;
  last: { ms: number; shown: boolean; recalled: boolean; reason: string | null } | null;
}

export interface Draft {
  textDocument: VersionedTextDocumentIdentifier;
  position: Position;
  committed: string; // will not change
  draft: string; // the rest, with a mask for each open token
  pass: number;
  done: boolean;
}

export interface InlineEdit {
  text: string;
  range: Range;
  textDocument: VersionedTextDocumentIdentifier;
  command: Command; // to be run when the edit is made
}

/** Tells the server what this client can take. */
export const announcement: StaticFeature = {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    const others = (capabilities.experimental ?? {}) as object;
    const drafts = workspace.getConfiguration().get<boolean>("mercury.drafts") ?? false;
    capabilities.experimental = { ...others, mercury: { status: true, drafts, nextEdit: true } };
  },
  initialize: () => undefined,
  getState: () => ({ kind: "static" }),
  clear: () => undefined,
};
