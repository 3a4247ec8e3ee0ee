/**
 * Draws the preview of a suggestion while it is decoded, after each forward pass, if `mercury.drafts` is on.
 *
 * A preview is drawn only in the version of the text and at the cursor for which it was made. It is removed when it is
 * done, when the ghost text comes, and when the user types or moves the cursor. Only its first line is drawn, because a
 * decoration stays on its line.
 */
import { type Disposable, Position, Range, type TextEditor, ThemeColor, window, workspace } from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { type Draft, DRAFT } from "./protocol";

// The most characters that are drawn of a line.
const MAX_LINE_CHARACTERS = 200;

export class Drafts implements Disposable {
  private readonly committed = window.createTextEditorDecorationType({
    after: { color: new ThemeColor("editorGhostText.foreground"), fontStyle: "italic" },
  });
  private readonly undecided = window.createTextEditorDecorationType({
    after: { color: new ThemeColor("editorLineNumber.foreground") },
  });
  private readonly listeners: Disposable[];
  private drawnEditor: TextEditor | undefined;
  // The version and the URI of the text that has a suggestion.
  private answeredVersion = "";

  constructor() {
    this.listeners = [
      workspace.onDidChangeTextDocument(({ document }) => {
        if (document === this.drawnEditor?.document) this.clear();
      }),
      window.onDidChangeTextEditorSelection(({ textEditor }) => {
        if (textEditor === this.drawnEditor) this.clear();
      }),
      window.onDidChangeActiveTextEditor(() => this.clear()),
    ];
  }

  listen(client: LanguageClient): void {
    client.onNotification(DRAFT, (draft: Draft) => {
      this.draw(client.protocol2CodeConverter.asUri(draft.textDocument.uri).toString(), draft);
    });
  }

  /** Ends the preview in a text that has a suggestion now. */
  finish(uri: string, version: number): void {
    this.answeredVersion = `${version} ${uri}`;
    this.clear();
  }

  clear(): void {
    this.drawnEditor?.setDecorations(this.committed, []);
    this.drawnEditor?.setDecorations(this.undecided, []);
    this.drawnEditor = undefined;
  }

  dispose(): void {
    this.clear();
    [...this.listeners, this.committed, this.undecided].forEach((disposable) => disposable.dispose());
  }

  private draw(uri: string, { textDocument, position, committed, draft, done }: Draft): void {
    const editor = window.activeTextEditor;
    const cursor = new Position(position.line, position.character);
    const stale =
      editor?.document.uri.toString() !== uri ||
      editor.document.version !== textDocument.version ||
      this.answeredVersion === `${textDocument.version} ${uri}` ||
      !editor.selection.isEmpty ||
      !editor.selection.active.isEqual(cursor);
    if (done || stale) {
      this.clear();
      return;
    }
    const [committedLine, draftLine] = firstLines(committed, draft);
    // VS Code draws the two types in the order of their creation, so the committed text comes first.
    editor.setDecorations(this.committed, committedLine ? [decorationAfter(cursor, committedLine)] : []);
    editor.setDecorations(this.undecided, draftLine ? [decorationAfter(cursor, draftLine)] : []);
    this.drawnEditor = editor;
  }
}

const decorationAfter = (place: Position, contentText: string) => ({
  range: new Range(place, place),
  renderOptions: { after: { contentText } },
});

/** Cuts both parts at the end of the first line, and marks further lines by a sign. */
function firstLines(committed: string, draft: string): [string, string] {
  const firstLineOf = (text: string): string => {
    const [line = "", ...more] = text.split(/\r?\n/);
    // CSS would collapse ordinary blanks.
    const shown = line.slice(0, MAX_LINE_CHARACTERS).replaceAll("\t", "    ").replaceAll(" ", "\u00a0");
    return more.length > 0 ? `${shown}\u00a0↵` : shown;
  };
  return committed.includes("\n") ? [firstLineOf(committed), ""] : [firstLineOf(committed), firstLineOf(draft)];
}
