/**
 * The view of statistics: a webview panel that shows the server's figures.
 *
 * The page has no script and loads nothing; its links are commands.
 */
import { randomBytes } from "node:crypto";
import { type Disposable, ViewColumn, type WebviewPanel, window } from "vscode";
import { type Figures, renderPage } from "./figures";
import type { Service } from "./service";

export class Statistics implements Disposable {
  private panel: WebviewPanel | undefined;

  constructor(private readonly service: Service) {}

  /** Shows the figures of the last `days` days, or all figures. */
  async show(days?: number): Promise<void> {
    const figures = await this.service.run("mercury.stats", days ? [days] : []);
    this.panel ??= this.open();
    this.panel.webview.html = renderPage(figures as Figures | undefined, days, randomBytes(16).toString("hex"));
    this.panel.reveal(undefined, false);
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private open(): WebviewPanel {
    const options = { enableScripts: false, localResourceRoots: [], enableCommandUris: ["mercury.stats"] };
    const panel = window.createWebviewPanel("mercury.stats", "Mercury: Statistics", ViewColumn.Active, options);
    panel.onDidDispose(() => (this.panel = undefined));
    return panel;
  }
}
