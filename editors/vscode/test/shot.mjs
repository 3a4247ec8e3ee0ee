// Types into a file in a real VS Code in a browser, waits for ghost text, takes a picture; then accepts by Tab.
//
//     node editors/vscode/test/shot.mjs URL OUT.png FILE LINE TEXT
//
// URL is that of a code-server which runs with this extension and has a folder with FILE open; LINE's text is deleted and
// TEXT is typed in its place; nothing is saved. Set `mercury.deadline_ms` to 60000 on a slow machine, and switch
// `files.autoSave` and `editor.quickSuggestions` off. Needs Chromium and `playwright-core`, found from the
// working folder.

import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.cwd(), "x.js"))("playwright-core");
const [url, picture, file, line, text] = process.argv.slice(2);
const PATIENCE = 300_000; // ms; the first answer waits for the model

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const page = await browser.newPage({ viewport: { width: 900, height: 560 } });
try {
  page.setDefaultTimeout(PATIENCE);
  await page.goto(url, { waitUntil: "commit" });
  await page.waitForSelector(".monaco-workbench");

  await page.locator(".explorer-folders-view .monaco-list-row", { hasText: file }).dblclick();
  await page.waitForSelector(".editor-instance .view-line");
  await page.keyboard.press("Control+G");
  await page.waitForSelector(".quick-input-list .monaco-list-row");
  await page.keyboard.type(line);
  await page.waitForSelector(`.quick-input-list .monaco-list-row:has-text("${line}")`);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".monaco-editor.focused");
  await page.keyboard.press("Home");
  await page.keyboard.press("Shift+End");
  await page.keyboard.type(text, { delay: 100 });

  const ghost = page.locator(".ghost-text-decoration, .ghost-text-decoration-preview, .ghost-text").first();
  const end = Date.now() + PATIENCE;
  while (!(await ghost.isVisible())) {
    if (Date.now() > end) throw new Error("No ghost text came.");
    await page.keyboard.press("Escape"); // closes the suggest widget, which hides what does not match it
    await page.keyboard.press("Backspace");
    await page.keyboard.type(text.at(-1)); // the model may still be loading: ask again
    await ghost.waitFor({ state: "visible", timeout: 40_000 }).catch(() => undefined);
  }
  await page.screenshot({ path: picture });
  const read = async () => {
    const lines = await page.locator(".editor-instance .view-line").allInnerTexts();
    return lines.map((found) => found.replaceAll("\u00a0", " ").trim()).filter((found) => found.startsWith(text));
  };
  console.log("ghost:   ", await ghost.innerText());
  await page.keyboard.press("Tab");
  await page.waitForTimeout(3000);
  console.log("accepted:", (await read()).join(" | "));
} catch (error) {
  await page.screenshot({ path: picture }); // how far it came
  throw error;
} finally {
  await browser.close();
}
