/**
 * The next edit: requested after each change, drawn, and made.
 *
 * While an edit is drawn, the context key `mercury.nextEdit` binds Tab and Esc to this extension. Removed text is struck
 * through; new text follows it in the color of ghost text. Tab jumps to the edit, or makes it if the cursor is in its
 * line, and then requests the next edit.
 */
import {
  CancellationTokenSource,
  commands,
  type Disposable,
  EndOfLine,
  Range,
  Selection,
  type TextEditor,
  TextEditorRevealType,
  ThemeColor,
  window,
  workspace,
} from "vscode";
import { type InlineEdit, NEXT_EDIT } from "./protocol";
import type { Service } from "./service";

// Milliseconds after a change.
const DEBOUNCE_MS = 150;
// The most characters that are drawn of a line.
const MAX_LINE_CHARACTERS = 200;
const CONTEXT = "mercury.nextEdit";
const AUTOMATIC = 2;

interface ShownEdit {
  editor: TextEditor;
  version: number;
  range: Range;
  text: string;
  commandArguments: unknown[];
  command: string;
}

export class NextEdit implements Disposable {
  private readonly removedText = window.createTextEditorDecorationType({
    textDecoration: "line-through",
    backgroundColor: new ThemeColor("diffEditor.removedTextBackground"),
  });
  private readonly insertedText = window.createTextEditorDecorationType({
    after: { color: new ThemeColor("editorGhostText.foreground"), fontStyle: "italic" },
  });
  private readonly editedLine = window.createTextEditorDecorationType({
    isWholeLine: true,
    overviewRulerColor: new ThemeColor("editorOverviewRuler.modifiedForeground"),
    borderWidth: "0 0 0 2px",
    borderStyle: "solid",
    borderColor: new ThemeColor("editorGutter.modifiedBackground"),
  });
  private readonly listeners: Disposable[];
  private shown: ShownEdit | undefined;
  private timer: NodeJS.Timeout | undefined;
  private pendingRequest: CancellationTokenSource | undefined;

  constructor(private readonly service: Service) {
    this.listeners = [
      workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        const editor = window.activeTextEditor;
        if (document !== editor?.document || contentChanges.length === 0) return;
        this.clear();
        this.timer = setTimeout(() => void this.requestEdit(editor), DEBOUNCE_MS);
      }),
      window.onDidChangeActiveTextEditor(() => this.clear()),
      commands.registerCommand("mercury.nextEdit.take", () => this.take()),
      commands.registerCommand("mercury.nextEdit.dismiss", () => this.dismiss()),
    ];
  }

  clear(): void {
    clearTimeout(this.timer);
    this.pendingRequest?.cancel();
    this.pendingRequest = undefined;
    if (!this.shown) return;
    const { editor } = this.shown;
    [this.removedText, this.insertedText, this.editedLine].forEach((type) => editor.setDecorations(type, []));
    this.shown = undefined;
    void commands.executeCommand("setContext", CONTEXT, false);
  }

  dispose(): void {
    this.clear();
    [...this.listeners, this.removedText, this.insertedText, this.editedLine].forEach((disposable) => disposable.dispose());
  }

  private async requestEdit(editor: TextEditor): Promise<void> {
    this.clear();
    const client = this.service.client;
    const { document } = editor;
    if (!client) return;
    const cancellation = (this.pendingRequest = new CancellationTokenSource());
    const { version } = document;
    const params = {
      textDocument: { uri: client.code2ProtocolConverter.asUri(document.uri), version },
      position: client.code2ProtocolConverter.asPosition(editor.selection.active),
      context: { triggerKind: AUTOMATIC },
    };
    let edits: InlineEdit[];
    try {
      ({ edits } = await client.sendRequest<{ edits: InlineEdit[] }>(NEXT_EDIT, params, cancellation.token));
    } catch {
      // The request was cancelled, or the server does not know it.
      return;
    }
    const [edit] = edits;
    if (!edit || this.pendingRequest !== cancellation || document.version !== version || edit.textDocument.version !== version) return;
    const range = client.protocol2CodeConverter.asRange(edit.range);
    this.draw({ editor, version, range, text: edit.text, commandArguments: edit.command.arguments ?? [], command: edit.command.command });
  }

  private draw(shown: ShownEdit): void {
    const { editor, range, text } = shown;
    const [first = "", ...more] = text.split(/\r?\n/);
    // CSS would collapse ordinary blanks.
    const firstLine = first.slice(0, MAX_LINE_CHARACTERS).replaceAll("\t", "    ").replaceAll(" ", "\u00a0");
    const contentText = more.length > 0 ? `${firstLine}\u00a0↵` : firstLine;
    editor.setDecorations(this.removedText, range.isEmpty ? [] : [range]);
    editor.setDecorations(this.insertedText, [{ range: new Range(range.end, range.end), renderOptions: { after: { contentText } } }]);
    editor.setDecorations(this.editedLine, [new Range(range.start, range.start)]);
    this.shown = shown;
    void commands.executeCommand("setContext", CONTEXT, true);
  }

  /** Jumps to the edit, or makes it if the cursor is in its line. */
  private async take(): Promise<void> {
    const shown = this.shown;
    if (!shown || shown.editor.document.version !== shown.version) return;
    const { editor, range, text } = shown;
    if (editor.selection.active.line !== range.start.line) {
      editor.selection = new Selection(range.start, range.start);
      editor.revealRange(range, TextEditorRevealType.InCenterIfOutsideViewport);
      return;
    }
    const start = editor.document.offsetAt(range.start);
    this.clear();
    if (!(await editor.edit((builder) => builder.replace(range, text)))) return;
    // The editor writes the document's line ends.
    const written = text.replace(/\r\n|\r|\n/g, editor.document.eol === EndOfLine.CRLF ? "\r\n" : "\n");
    const end = editor.document.positionAt(start + written.length);
    editor.selection = new Selection(end, end);
    await this.service.run(shown.command, shown.commandArguments);
    await this.requestEdit(editor);
  }

  private async dismiss(): Promise<void> {
    const shown = this.shown;
    this.clear();
    if (shown) await this.service.run("mercury.editDismissed", shown.commandArguments);
  }
}
