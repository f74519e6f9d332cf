// Shared by the tests and the pictures: the server process, the browser, and clients without a browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import WebSocket from "ws";

export const BINARY = process.env.SWITCHBOARD ?? new URL("../../target/release/switchboard", import.meta.url).pathname;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const DEADLINE = 10_000; // ms

/** Starts the server; `port` 0 picks a free one. */
export async function startServer({ port = 0, options = [], env = {} } = {}) {
  const child = spawn(BINARY, ["--host", "127.0.0.1", "--port", String(port), ...options],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  const server = { child, url: "", port: 0, output: "" };
  const printed = new Promise((resolve, reject) => {
    const read = (chunk) => {
      server.output += chunk;
      const url = /http:\/\/127\.0\.0\.1:(\d+)/.exec(server.output);
      if (url) resolve(url);
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${server.output}`)));
    setTimeout(() => reject(new Error(`no URL within the deadline: ${server.output}`)), DEADLINE).unref();
  });
  [server.url, server.port] = await printed;
  server.stop = async (signal = "SIGTERM") => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  };
  return server;
}

/** A browser with a fresh profile folder. */
export async function startBrowser(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), "switchboard-browser-"));
  const context = await chromium.launchPersistentContext(profile,
    { executablePath: CHROMIUM, args: CHROMIUM_OPTIONS, headless: true, viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(DEADLINE);
  const close = async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { context, close };
}

/** A client without a browser, like websocat. `next()` returns the next message. */
export async function joinRoom({ port }, id) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/${id}`);
  const messages = [], waiting = [];
  socket.on("message", (message) => {
    const deliver = waiting.shift();
    if (deliver) deliver(String(message));
    else messages.push(String(message));
  });
  await once(socket, "open");
  return {
    socket,
    say: (text) => socket.send(text),
    next: () => (messages.length ? Promise.resolve(messages.shift()) : new Promise((resolve, reject) => {
      waiting.push(resolve);
      setTimeout(() => reject(new Error("no message within the deadline")), DEADLINE).unref();
    })),
    leave: () => socket.close(1000),
  };
}

export async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Waits until a message with exactly this text is in the list. */
export async function hears(page, text) {
  await page.waitForFunction((wanted) =>
    [...document.querySelectorAll("#log .text")].some((element) => element.textContent === wanted), text);
}

export const isIn = (page, state) => page.waitForSelector(`body[data-state=${state}]`);

/** Opens the inspector for the first time, and waits until it is loaded. */
export async function lookInside(page) {
  await page.click("#look");
  await page.waitForSelector("#panel");
}

export async function openPhase(page, phase) {
  if (!(await page.$("#panel"))) await lookInside(page);
  const button = page.locator(`#phases li:nth-child(${phase}) button`);
  if ((await button.getAttribute("aria-expanded")) !== "true") await button.click();
}
