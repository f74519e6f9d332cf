// Takes the README's pictures, into $PICTURES (tests/browser/pictures): `tests/browser/run.sh pictures`.
//
// They show the chat in two tabs and the inspector with a frame and a handshake, each in light and dark, and the output of
// --explain. EXPLAIN names a file with that output, colours included (`script -c 'switchboard --explain' FILE`); without it, this
// script starts a server.
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { hears, isIn, joinRoom, openPhase, say, startBrowser, startServer } from "./harness.mjs";
import { ansiToHtml } from "./terminal.mjs";

const FOLDER = process.env.PICTURES ?? new URL("pictures", import.meta.url).pathname;
const LARGEST = 250_000; // bytes
const TERMINAL_LINES = 52;

await mkdir(FOLDER, { recursive: true });
const { context, close } = await startBrowser({ reducedMotion: "reduce", locale: "en-GB" });

async function save(target, name) {
  const path = join(FOLDER, `${name}.png`);
  await target.screenshot({ path, animations: "disabled", caret: "hide" });
  const { size } = await stat(path);
  if (size > LARGEST) throw new Error(`${path} has ${size} bytes`);
  console.log(`${path} ${size} bytes`);
}

async function open(server, colorScheme, width, height) {
  const page = await context.newPage();
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await page.goto(server.url);
  await isIn(page, "open");
  return page;
}

/** Two tabs side by side, as one picture. */
async function chat(colorScheme) {
  const server = await startServer();
  const tabs = [await open(server, colorScheme, 560, 620), await open(server, colorScheme, 560, 620)];
  const terminal = await joinRoom(server, 7);
  const lines = [[0, "Hello! Is anybody there?"], [1, "Yes 👋 I’m in the tab next to yours"], [0, "So every message goes to everyone, the sender included?"],
    [1, "Yes: one message in, one to each member of the room."], [2, "And I’m websocat, in a terminal"], [0, "שלום לכולם 🎉"]];
  for (const [who, text] of lines) {
    if (who === 2) terminal.say(text);
    else await say(tabs[who], text);
    for (const tab of tabs) await hears(tab, text);
  }
  await tabs[1].fill("#text", "Who else is here");
  const halves = [];
  for (const tab of tabs) {
    await tab.bringToFront();
    halves.push((await tab.screenshot({ caret: "hide" })).toString("base64"));
  }
  const both = await context.newPage();
  await both.setViewportSize({ width: 1176, height: 652 });
  const ground = colorScheme === "dark" ? "#2b3135" : "#c9d1cb";
  await both.setContent(`<body style="margin:0;padding:16px;box-sizing:border-box;display:flex;gap:24px;background:${ground}">
    ${halves.map((half) => `<img style="border-radius:12px" src="data:image/png;base64,${half}">`).join("")}`);
  await save(both, `chat-${colorScheme}`);
  await finish(server);
}

/** The inspector: a frame with one of its fields explained, then the handshake. */
async function frame(colorScheme) {
  const server = await startServer();
  const page = await open(server, colorScheme, 1280, 1110);
  for (const text of ["Is anybody there?", "Then let’s look inside."]) {
    await say(page, text);
    await hears(page, text);
  }
  await page.click("#look");
  await page.click("#reconnect");
  await isIn(page, "open");
  await openPhase(page, 3);
  const others = [await joinRoom(server, 7), await joinRoom(server, 42)];
  others[0].say("Hello from a terminal");
  await hears(page, "Hello from a terminal");
  await say(page, "Hello, room!");
  await hears(page, "Hello, room!");
  await page.locator("#frames button", { hasText: "says: Hello, room!" }).first().click();
  await page.waitForSelector('#frame .field[data-index="7"]');
  await page.hover('#frame .field[data-index="7"]');
  await page.waitForTimeout(1500);
  await save(page, `frame-${colorScheme}`);
  await openPhase(page, 2);
  await page.waitForSelector("#accept");
  await page.setViewportSize({ width: 1120, height: 900 });
  await page.waitForTimeout(300);
  await save(page, `handshake-${colorScheme}`);
  await finish(server);
}

/** The output of --explain, drawn as a terminal. */
async function terminal() {
  let text;
  if (process.env.EXPLAIN) text = await readFile(process.env.EXPLAIN, "utf8");
  else {
    const server = await startServer({ options: ["--explain"], env: { CLICOLOR_FORCE: "1", FORCE_COLOR: "1" } });
    const client = await joinRoom(server, 42);
    client.say("hello");
    await client.next();
    client.leave();
    await new Promise((resolve) => client.socket.once("close", resolve));
    await server.stop();
    text = `$ switchboard --explain\n${server.output}`;
  }
  const said = text.replace(/\r/g, "").trimEnd().split("\n").filter((line) => !line.startsWith("Script ")); // script's own
  const lines = said.slice(0, TERMINAL_LINES).join("\n");
  const page = await context.newPage();
  await page.setContent(`<style>
    body { margin: 0; padding: 16px; width: max-content; background: #2b3135; }
    pre { margin: 0; padding: 18px 22px; max-width: 1150px; border-radius: 12px; background: #101416; color: #d7dedd; white-space: pre-wrap;
      overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
  </style><pre>${ansiToHtml(lines)}</pre>`);
  await save(page.locator("body"), "explain");
}

async function finish(server) {
  for (const page of context.pages().slice(1)) await page.close(); // the first keeps the browser open
  await server.stop();
}

for (const colorScheme of ["light", "dark"]) {
  await chat(colorScheme);
  await frame(colorScheme);
}
await terminal();
await close();
