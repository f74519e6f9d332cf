// The page in a real browser, against the release binary. Run by run.sh.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { BINARY, hears, isIn, joinRoom, lookInside, openPhase, say, startBrowser, startServer } from "./harness.mjs";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FLOOD = 10_000;

let server, browser, complaints;

before(async () => {
  browser = await startBrowser();
});
after(() => browser?.close());

beforeEach(async () => {
  server = await startServer();
  complaints = [];
});
afterEach(async () => {
  for (const page of browser.context.pages()) await page.close();
  await server.stop();
  assert.deepEqual(complaints, []); // exceptions, and violations of the Content-Security-Policy
});

async function open({ width = 1280, height = 800, colorScheme = "light", ready = "open", path = "/" } = {}) {
  const page = await browser.context.newPage();
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme });
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => /Content.Security.Policy/i.test(message.text()) && complaints.push(message.text()));
  await page.goto(server.url + path);
  await isIn(page, ready);
  return page;
}

/** Waits until the element's text matches the pattern. */
const shows = (page, id, pattern) =>
  page.waitForFunction(([id, source]) => new RegExp(source, "s").test(document.getElementById(id).textContent), [id, pattern.source]);

const noticeSays = (page, pattern) => shows(page, "notice", pattern);

test("two pages and a client without a browser chat", async () => {
  const [one, two] = [await open(), await open()];
  const third = await joinRoom(server, 7);
  const id = (await one.getAttribute("#client-id", "title")).replace("Client #", "");
  assert.match(id, /^\d{13}$/);
  assert.equal(await one.textContent("#client-id"), `Client #…${id.slice(-5)}`);
  assert.equal(await one.textContent("#command"), `websocat -E ws://127.0.0.1:${server.port}/ws/7`);

  await say(one, "hello, you two");
  for (const page of [one, two]) await hears(page, "hello, you two");
  assert.equal(await third.next(), `Client #${id} says: hello, you two`);
  assert.equal(await one.locator(".message.own").count(), 1);
  assert.equal(await two.locator(".message.own").count(), 0);
  assert.match(await two.locator(".message").last().textContent(), new RegExp(`^Client #…${id.slice(-5)} `));

  third.say("hello from a terminal");
  for (const page of [one, two]) await hears(page, "hello from a terminal");
  assert.match(await two.locator(".message").last().textContent(), /^Client #7 /);
  third.leave();
});

test("the id of the address is kept in the tab, and a bad one is explained", async () => {
  const page = await open({ path: "/?id=-7" });
  const says = async () => {
    await isIn(page, "open");
    return page.textContent("#client-id");
  };
  assert.equal(await says(), "Client #-7");
  await page.goto(server.url);
  assert.equal(await says(), "Client #-7");
  page.once("dialog", (dialog) => dialog.accept(" 007 "));
  await page.click("#rename");
  await page.waitForURL("**/?id=007");
  assert.equal(await says(), "Client #7");
  assert.equal(await page.textContent("#command"), `websocat -E ws://127.0.0.1:${server.port}/ws/8`);
  for (const id of ["seven", "9223372036854775808"]) {
    await page.goto(`${server.url}/?id=${id}`);
    await isIn(page, "refused");
    await noticeSays(page, /\(400\)\. .*not a 64-bit integer/);
  }
  await page.goto(server.url);
  assert.equal(await says(), "Client #7");
});

test("another client with the page's id is not the page", async () => {
  const page = await open({ path: "/?id=7" });
  const namesake = await joinRoom(server, 7);
  await shows(page, "here", /^In the room: you, another Client #7$/);
  await say(page, "it is me");
  await hears(page, "it is me");
  namesake.say("it is not");
  await hears(page, "it is not");
  assert.equal(await page.locator(".message.own").count(), 1);
  assert.match(await page.locator(".message").last().textContent(), /^another Client #7 /);
  namesake.leave();
});

test("the page shows who is in the room, and who comes and goes", async () => {
  const page = await open();
  await shows(page, "here", /^In the room: you$/);
  const client = await joinRoom(server, 11);
  await shows(page, "here", /^In the room: you, Client #11$/);
  const others = await Promise.all([...Array(9).keys()].map((id) => joinRoom(server, id)));
  await shows(page, "here", /^In the room: you, Client #11(, Client #\d){7} and 2 more$/);
  client.leave();
  await shows(page, "rows", /^…, .*, Client #11 left$/); // all in one line
  assert.equal(await page.locator(".remark", { hasText: "Client" }).count(), 1);
  const other = await open();
  await shows(page, "here", / and 2 more$/);
  await other.close();
  await shows(page, "rows", /Client #…\d{5} joined, Client #…\d{5} left$/);
  for (const other of others) other.leave();
  await shows(page, "here", /^In the room: you$/);
});

test("all pages of a browser together have one stream of the members", async () => {
  const pages = [];
  for (let number = 0; number < 8; number += 1) pages.push(await open({ path: `/?id=${number}` })); // a browser opens six connections
  await shows(pages[0], "here", /^In the room: you(, Client #\d){7}$/);
  await shows(pages[7], "here", /^In the room: you(, Client #\d){7}$/);
  assert.doesNotMatch(await pages[7].textContent("#rows"), /another|joined/);
  await pages[0].close(); // it had the stream
  await shows(pages[7], "here", /^In the room: you(, Client #\d){6}$/);
  await shows(pages[7], "rows", /Client #0 left$/);
});

test("Enter sends, Shift+Enter inserts a line break, Enter in an input method does neither", async () => {
  const page = await open();
  await page.locator("#text").pressSequentially("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.evaluate(() => {
    const press = (options) => document.getElementById("text").dispatchEvent(
      new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...options }));
    press({ isComposing: true });
    press({ keyCode: 229 });
  });
  assert.equal(await page.inputValue("#text"), "one\ntwo");
  await page.keyboard.press("Enter");
  await hears(page, "one\ntwo");
  assert.equal(await page.inputValue("#text"), "");
});

test("a message is never parsed as HTML", async () => {
  const page = await open();
  const client = await joinRoom(server, 666);
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>\u202e<b>';
  client.say(hostile);
  await hears(page, hostile);
  assert.equal(await page.locator("#log img, #log script, #log .text b").count(), 0);
  assert.equal(await page.title(), "switchboard");
  client.leave();
});

test("right-to-left text, emoji and a very long message", async () => {
  const page = await open();
  const client = await joinRoom(server, 8);
  client.say("שלום!");
  await hears(page, "שלום!");
  const text = page.locator("#log .text").last();
  assert.equal(await text.evaluate((element) => getComputedStyle(element).direction), "rtl");
  client.say("👩‍👩‍👧‍👦 e\u0301");
  await hears(page, "👩‍👩‍👧‍👦 e\u0301");

  client.say("o" + "\u0315\u031a\u0321".repeat(100));
  await text.filter({ hasText: "o\u0315" }).waitFor();
  assert.equal(await text.evaluate((element) => getComputedStyle(element).overflowY), "hidden"); // marks stay inside
  client.say("");
  await page.waitForFunction(() => [...document.querySelectorAll("#rows .text")].at(-1)?.textContent === "");
  assert.ok((await text.boundingBox()).width > 80);
  const lines = "line\n".repeat(35);
  client.say(lines);
  await text.getByRole("button", { name: "Show all 36 lines" }).waitFor();
  assert.ok((await text.boundingBox()).height < 350);
  await text.getByRole("button").click();
  await hears(page, lines);
  client.say("x".repeat(60_000));
  await text.getByRole("button", { name: /Show all 60,000/ }).click();
  await hears(page, "x".repeat(60_000));
  client.leave();
});

test("the page reconnects to a restarted server and keeps the draft", async () => {
  const page = await open();
  await page.fill("#text", "a thought, not yet sent");
  await Promise.all([noticeSays(page, /\(1001\): going away/), server.stop()]);
  await isIn(page, "waiting");
  await page.press("#text", "Enter");
  assert.equal(await page.inputValue("#text"), "a thought, not yet sent");
  assert.match(await page.textContent("#hint"), /Not connected/);

  server = await startServer({ port: server.port });
  await isIn(page, "open");
  assert.equal(await page.textContent("#hint"), "");
  assert.equal(await page.inputValue("#text"), "a thought, not yet sent");
  await shows(page, "rows", /Reconnected\. The server closed the connection \(1001\)/);
  await server.stop();
  await isIn(page, "waiting");
  server = await startServer({ port: server.port });
  await isIn(page, "open");
  await shows(page, "rows", /Reconnected 2 times/);
  assert.equal(await page.locator(".remark").filter({ hasText: "Reconnected" }).count(), 1);
  await page.reload();
  await isIn(page, "open");
  assert.equal(await page.inputValue("#text"), "a thought, not yet sent");
  await page.press("#text", "Enter");
  await hears(page, "a thought, not yet sent");
});

test("a page that says more than a slow reader takes is told so", async () => {
  await server.stop();
  server = await startServer({ options: ["--pace", "1", "--max-backlog", "3200000", "--ping-interval", "0"] });
  const page = await open();
  const slow = connect(server.port, "127.0.0.1");
  slow.write(`GET /ws/1 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  await once(slow, "readable"); // the 101, which is all that it waits for: it never reads
  await page.evaluate(() => {
    for (let number = 0; number < 800; number += 1) {
      document.getElementById("text").value = String(number).padEnd(3_000, "x");
      document.getElementById("form").requestSubmit();
    }
  });
  const hint = (pattern) => page.waitForFunction((source) => new RegExp(source).test(document.getElementById("hint").textContent), pattern);
  await hint("not yet delivered: \\d+$");
  await page.press("#text", "x");
  assert.match(await page.textContent("#hint"), /not yet delivered: \d+$/);
  slow.destroy();
  await hint("^$");
  await hears(page, "799".padEnd(3_000, "x"));
});

test("a killed server is explained, and the page reconnects at once when the network is back", async () => {
  const page = await open();
  await server.stop("SIGKILL");
  await noticeSays(page, /The connection was lost \(1006\)|does not answer/);
  await noticeSays(page, /does not answer/);
  await page.evaluate(() => (failures = 50)); // the next pause is the longest
  await page.waitForFunction(() => parseInt(document.getElementById("countdown").textContent.slice(3)) > 10);
  server = await startServer({ port: server.port });
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await isIn(page, "open");
});

test("the page reconnects soon after the server is back, however long its pause is", async () => {
  const page = await open();
  await server.stop("SIGKILL");
  await noticeSays(page, /does not answer/);
  await page.evaluate(() => (failures = 50));
  await page.waitForFunction(() => parseInt(document.getElementById("countdown").textContent.slice(3)) > 10);
  server = await startServer({ port: server.port });
  await page.waitForSelector("body[data-state=open]", { timeout: 5_000 });
});

test("one button disconnects and connects", async () => {
  const page = await open();
  await page.click("#switch");
  await noticeSays(page, /You closed the connection \(1000\)/);
  await isIn(page, "closed");
  assert.equal(await page.textContent("#switch"), "Connect");
  await page.click("#switch");
  await isIn(page, "open");
  assert.equal(await page.isHidden("#notice"), true);
});

test("a message that is too big returns to the box", async () => {
  const page = await open();
  const big = "y".repeat(70_000);
  await say(page, big);
  await page.waitForFunction((length) => document.getElementById("text").value.length === length, big.length);
  await isIn(page, "open"); // reconnected, and not sent again
  await page.waitForSelector("#undelivered:not([hidden])");
  assert.equal(await page.locator(".message").count(), 0);
  assert.match(await page.textContent("#undelivered"), /^Refused: 1 message\. The server closed the connection \(1009\): message too big;.* Shorten it/);
  await page.getByRole("button", { name: "Dismiss" }).click();
  assert.equal(await page.isVisible("#undelivered"), false);
  await page.press("#text", "Enter");
  await shows(page, "undelivered", /^Refused/);
  await page.waitForSelector("#undelivered:not([hidden])");
  await isIn(page, "open");
  await say(page, " \n ");
  assert.equal(await page.locator(".message").count(), 0); // blanks alone are not sent
  await say(page, "short");
  await hears(page, "short");
  assert.equal(await page.isVisible("#undelivered"), false);
});

test("the page says how far it was behind, and which messages may be lost", async () => {
  const page = await browser.context.newPage();
  let rejoined = false;
  await page.routeWebSocket(/\/ws\//, (socket) => {
    if (rejoined) return socket.connectToServer();
    rejoined = true;
    let messages = 0;
    socket.onMessage(() => ++messages === 3 && socket.close({ code: 1013, reason: "too slow: 16800000 bytes behind" }));
  });
  await page.goto(server.url);
  await isIn(page, "open");
  for (const letter of "abc") await say(page, letter.repeat(90_000));
  await shows(page, "undelivered", /^Perhaps not delivered: 3 messages\..* Of these, 2 fit into the box\./);
  assert.equal(await page.inputValue("#text"), `${"a".repeat(90_000)}\n${"b".repeat(90_000)}`);
  await shows(page, "rows", /^Reconnected\. .*\(1013\).*“too slow: 16800000 bytes behind”/);
});

test("the page reconnects after 1008", async () => {
  const page = await browser.context.newPage();
  let closed = 0;
  await page.routeWebSocket(/\/ws\//, (socket) => {
    if (closed++ === 0) setTimeout(() => socket.close({ code: 1008, reason: "a message was not finished" }), 100);
    else socket.connectToServer();
  });
  await page.goto(server.url);
  await noticeSays(page, /The server closed the connection \(1008\): .*“a message was not finished”.* This page reconnects by itself/);
  await isIn(page, "open");
});

/** A page whose handshakes fail. A plain request of the same path gets this answer. */
async function openRefused(answer) {
  const refused = await browser.context.newPage();
  await refused.route(/\/ws\//, (route) => route.fulfill({ contentType: "text/plain", ...answer }));
  await refused.addInitScript(() => {
    globalThis.WebSocket = class extends EventTarget { // a failed handshake, as seen by a script
      constructor() {
        super();
        setTimeout(() => this.onclose({ target: this, code: 1006, reason: "" }), 10);
      }
    };
  });
  await refused.goto(server.url);
  return refused;
}

test("the page does not reconnect after a refusal", async () => {
  const refused = await openRefused({ status: 403, body: "Origin is not the page's own" });
  await isIn(refused, "refused");
  await noticeSays(refused, /refuses this page \(403\)\. Origin is not the page's own/);
});

test("the page reconnects after a 503, and says what is wrong", async () => {
  const says = async (body, what) => {
    const page = await openRefused({ status: 503, headers: { "Retry-After": "5" }, body });
    await isIn(page, "waiting");
    await noticeSays(page, what);
    await page.close();
  };
  const body = "503 Service Unavailable\n\nfault: the room is out of reach\nrule:  RFC 9110 15.6.4\nsent:  nothing wrong\nworks: websocat\n";
  await says(body, /^The server can’t take this page now \(503\): the room is out of reach\. This page reconnects by itself\.$/);
  await says("<html>from a proxy</html>", /^The server can’t take this page now \(503\)\. This page reconnects by itself\.$/);
});

test("the page keeps up with a flood of 10,000 messages, and shows the last 500", async () => {
  await server.stop();
  server = await startServer({ options: ["--lifecycle", "off"] }); // without lines about who has come
  const page = await open();
  const client = await joinRoom(server, 9);
  await page.evaluate(() => {
    globalThis.longest = 0;
    let last = performance.now();
    requestAnimationFrame(function measure(now) {
      longest = Math.max(longest, now - last);
      last = now;
      requestAnimationFrame(measure);
    });
  });
  for (let i = 1; i <= FLOOD; i++) client.say(`message ${i}`);
  await hears(page, `message ${FLOOD}`);
  assert.equal(await page.locator("#log .message").count(), 500);
  assert.equal(await page.textContent("#dropped"), "9,500 earlier messages are not shown.");
  const fromEnd = () => page.$eval("#log", (log) => log.scrollHeight - log.scrollTop - log.clientHeight);
  assert.ok(await fromEnd() < 2);
  const longest = await page.evaluate(() => longest);
  assert.ok(longest < 3000, `nothing was drawn for ${longest} ms`); // tens of ms on an idle machine

  // Scrolled up, the view stays where it is and the page counts new messages.
  await page.$eval("#log", (log) => (log.scrollTop = 0));
  await page.waitForFunction(() => !following);
  client.say("one more");
  await page.waitForFunction(() => document.getElementById("newer").textContent === "↓ 1 new");
  assert.ok(await fromEnd() > 1000);
  await page.click("#newer");
  await page.waitForFunction(() => following);
  assert.ok(await fromEnd() < 2);
  client.leave();
});

test("many messages of one sender scroll in their list, and not with the page", async () => {
  const page = await open();
  const client = await joinRoom(server, 9);
  for (let i = 1; i <= 100; i++) client.say(`message ${i}`);
  await hears(page, "message 100");
  assert.equal(await page.evaluate(() => document.documentElement.scrollHeight), 800);
  client.leave();
});

test("the list still follows the newest message when a notice makes it smaller", async () => {
  const page = await open();
  const client = await joinRoom(server, 9);
  for (let i = 1; i <= 50; i++) client.say(`message ${i}`);
  await hears(page, "message 50");
  await page.evaluate(() => { // a notice in the same frame as a message, before the scroll event
    receive("Client #9 says: last");
    requestAnimationFrame(() => show("waiting", "Reconnecting", "A notice ".repeat(30)));
  });
  await hears(page, "last");
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))));
  assert.equal(await page.evaluate(() => following), true);
  assert.ok(await page.$eval("#log", (log) => log.scrollHeight - log.scrollTop - log.clientHeight) < 2);
  client.leave();
});

test("the inspector is not requested until somebody looks inside, then runs under the policy", async () => {
  const page = await browser.context.newPage();
  const requested = [];
  page.on("request", (request) => requested.push(new URL(request.url()).pathname));
  await page.addInitScript(() => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
  await page.goto(server.url);
  await isIn(page, "open");
  await say(page, "before");
  await hears(page, "before");
  await shows(page, "here", /you/);
  assert.deepEqual(requested.filter((path) => !path.startsWith("/ws/")), ["/", "/page.css", "/members.js", "/members"]);

  await lookInside(page);
  assert.deepEqual(requested.slice(-3), ["/inspector.css", "/inspector.js", "/lifecycle"]);
  assert.equal(await page.$eval("#phases", (list) => getComputedStyle(list).display), "flex"); // the style applies
  await page.click("#reconnect");
  await page.waitForSelector("#request .line");
  assert.equal(await page.getAttribute("#look", "aria-expanded"), "true");
  await page.click("#look");
  assert.equal(await page.isHidden("#panel"), true);
  await page.click("#look");
  assert.equal(await page.isVisible("#panel"), true);
  assert.equal(requested.filter((path) => path.startsWith("/inspector")).length, 2); // loaded once
  assert.deepEqual(await page.evaluate(() => violations), []);
});

test("the policy blocks a script and a style that are not the page's", async () => {
  const page = await browser.context.newPage();
  await page.goto(server.url);
  await isIn(page, "open");
  await page.evaluate(() => {
    globalThis.blocked = [];
    addEventListener("securitypolicyviolation", ({ effectiveDirective }) => blocked.push(effectiveDirective));
    document.head.append(
      Object.assign(document.createElement("script"), { src: "/inspector.js" }), // without the integrity attribute
      Object.assign(document.createElement("style"), { textContent: "body { display: none }" }));
  });
  await page.waitForFunction(() => blocked.length === 2);
  const blocked = await page.evaluate(() => blocked.sort());
  assert.deepEqual(blocked, ["script-src-elem", "style-src-elem"]);
});

for (const file of ["inspector.js", "inspector.css"]) {
  test(`the chat works when ${file} fails to load, and looking inside can be tried again`, async () => {
    const page = await open();
    const failure = `**/${file}`;
    await page.route(failure, (route) => route.abort());
    await page.click("#look");
    await page.waitForFunction(() => /inspector could not be loaded/.test(document.getElementById("hint").textContent));
    await say(page, "the chat goes on");
    await hears(page, "the chat goes on");
    assert.equal(await page.locator("#panel").count(), 0);
    await page.click("#switch");
    await isIn(page, "closed");
    await page.click("#switch");
    await isIn(page, "open");

    await page.unroute(failure);
    await lookInside(page);
    assert.equal(await page.isVisible("#panel"), true);
  });
}

test("the handshake is shown with this connection's bytes and accept value", async () => {
  const page = await open();
  await page.click("#look");
  await page.click("#reconnect");
  await isIn(page, "open");
  await page.waitForSelector("#request .line");
  const request = await page.$$eval("#request .line code", (lines) => lines.map((line) => line.textContent));
  assert.equal(request[0], `GET /ws/${await page.evaluate(() => chat.clientId)} HTTP/1.1`);
  assert.ok(request.some((line) => line.toLowerCase() === `host: 127.0.0.1:${server.port}`));
  const sent = request.find((line) => /^sec-websocket-key:/i.test(line)).split(": ")[1];

  await openPhase(page, 2);
  await page.waitForSelector("#accept");
  assert.equal(await page.textContent("#key"), sent);
  const digest = createHash("sha1").update(sent + GUID).digest();
  assert.equal(await page.textContent("#digest"), digest.toString("hex"));
  assert.equal(await page.textContent("#accept"), digest.toString("base64"));
  assert.match(await page.textContent("#response"), /101 Switching Protocols/);
  assert.ok((await page.textContent("#response")).includes(digest.toString("base64")));
});

test("a frame is shown with its bits, and any frame in the list can be opened", async () => {
  const page = await open();
  await page.click("#look");
  await page.click("#reconnect");
  await isIn(page, "open");
  await openPhase(page, 3);
  await say(page, "Hi, frame");
  // The Close frames of the previous connection are shown first.
  await page.waitForFunction(() => [...document.querySelectorAll('#frame .field[data-index="4"] .bit')].map((bit) => bit.textContent).join("") === "0001");
  const bits = (index) => page.$$eval(`#frame .field[data-index="${index}"] .bit`, (all) => all.map((bit) => bit.textContent).join(""));
  assert.deepEqual([await bits(0), await bits(4), await bits(5), await bits(6)], ["1", "0001", "1", "0001001"]);
  const key = (await bits(7)).match(/.{8}/g).map((byte) => parseInt(byte, 2));
  const masked = (await bits(8)).match(/.{8}/g).map((byte) => parseInt(byte, 2));
  assert.equal(String.fromCharCode(...masked.map((byte, i) => byte ^ key[i % 4])), "Hi, frame");

  assert.match(await page.textContent("#explain"), /^FIN \(1 bit\)\. 1: the last/);
  await page.hover('#frame .field[data-index="4"]');
  assert.match(await page.textContent("#explain"), /^opcode \(4 bits\)\. 1: a text frame/);
  await page.focus('#frame .field[data-index="7"]');
  assert.match(await page.textContent("#explain"), /^masking key \(32 bits\)/);

  await page.locator("#frames button", { hasText: "server → you" }).first().click();
  assert.equal(await bits(5), "0"); // a frame from the server, so not masked
  assert.match(await page.textContent("#payload"), /byte by byte/);
});

test("anchors lead to fields and steps, and each id is unique", async () => {
  const page = await open({ path: "/#frame-masking-key" });
  await page.waitForSelector("#panel");
  await say(page, "Hi");
  await page.waitForSelector("#frame-masking-key.sought.on");
  assert.match(await page.textContent("#explain"), /^masking key \(32 bits\)/);
  await page.click("#reconnect");
  await isIn(page, "open");
  for (const [anchor, text] of [["request-host", /^Host: /i], ["upgrade-sec-websocket-version-is-13", /✓/],
    ["upgrade-accept", /accept value/], ["response-sec-websocket-accept", /^sec-websocket-accept: /i], ["frame-fin", /FIN/]]) {
    if (anchor === "frame-fin") await say(page, "Hi");
    await page.evaluate((hash) => (location.hash = hash), anchor);
    await page.waitForSelector(`#${anchor}.sought`);
    assert.match((await page.textContent(`#${anchor}`)).trim(), text);
    const ids = await page.$$eval("[id]", (all) => all.map(({ id }) => id));
    assert.deepEqual(ids.filter((id, index) => ids.indexOf(id) !== index), []);
  }
  await page.goto(`${server.url}/#nothing-known`);
  await page.reload();
  await page.waitForSelector("#phase-2:not([hidden])");
});

test("a frame is copied as a command, and a connection as a diagram", async () => {
  await browser.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  const page = await open({ path: "/?id=7" });
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.click("#look");
  await page.click("#reconnect");
  await isIn(page, "open");
  await openPhase(page, 3);
  await say(page, "Hi; #1");
  await page.waitForFunction(() => /text frame from you/.test(document.getElementById("frame-title").textContent));
  await page.click("#command-of-frame");
  await shows(page, "command-of-frame", /Copied/);
  const [, ...bytes] = (await copied()).replace("switchboard frame ", "frame ").split(" ");
  const { status, stdout } = spawnSync(BINARY, ["frame", ...bytes], { encoding: "utf8" });
  assert.equal(status, 0);
  assert.match(stdout, /^text of 6 bytes: "Hi; #1"/);

  await page.click("#switch");
  await openPhase(page, 4);
  await shows(page, "ending", /In total/);
  await page.click("#diagram");
  await shows(page, "diagram", /Copied/);
  assert.deepEqual((await copied()).split("\n"), [
    "sequenceDiagram", "    participant C as Client #35;7", "    participant S as server",
    "    C->>S: GET /ws/7 HTTP/1.1", "    S->>C: HTTP/1.1 101 Switching Protocols", "    Note over S: the member joins the room",
    "    C->>S: text, 6 bytes: Hi#59; #35;1", "    S->>C: text, 22 bytes: Client #35;7 says: Hi#59; #35;1",
    "    C->>S: close, 2 bytes: 1000", "    Note over S: the member leaves the room", "    S->>C: close, 2 bytes: 1000",
    "    Note over C,S: TCP is closed first by the server"]);
});

test("Ping and Pong are explained", async () => {
  await server.stop();
  server = await startServer({ options: ["--ping-interval", "1"] });
  const page = await open();
  await openPhase(page, 3);
  const frame = (name) => page.locator("#frames button", { hasText: name }).first();
  await frame("Still here").click();
  await shows(page, "purpose", /^A Pong answers a Ping/);
  await frame("Are you still there").click();
  await shows(page, "purpose", /^A Ping asks/);
  await say(page, "a text");
  await page.click("#follow");
  await shows(page, "purpose", /^$/);
});

test("what was seen stays when the panel is closed, and when the page was hidden", async () => {
  const page = await open();
  await openPhase(page, 1);
  await page.click("#reconnect");
  await isIn(page, "open");
  await page.waitForSelector("#request .line");
  await page.locator("#phases li:nth-child(1) button").click(); // the phase that is shown already
  assert.equal(await page.isVisible("#panel"), true);
  await page.click("#look");
  await page.click("#look");
  await openPhase(page, 1);
  await page.waitForSelector("#request .line");
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await Promise.all([page.waitForResponse("**/lifecycle"), hide(false)]);
  await page.waitForSelector("#request .line");
  await openPhase(page, 3);
  await shows(page, "room-title", /^The room: 1 member$/);
});

test("a page's own frames are kept in a large room", async () => {
  const page = await open();
  const others = await Promise.all([...Array(120).keys()].map((id) => joinRoom(server, id)));
  await Promise.all([page.waitForResponse("**/lifecycle"), openPhase(page, 3)]);
  await say(page, "one of 121 copies");
  await page.locator("#frames button", { hasText: "you → server" }).waitFor();
  await page.locator("#frames button", { hasText: "server → you" }).waitFor();
  for (const other of others) other.leave();
});

test("a panel opened late shows the frames from then on", async () => {
  const page = await open();
  await Promise.all([page.waitForResponse("**/lifecycle"), openPhase(page, 3)]);
  await say(page, "Hi, frame");
  await page.waitForSelector("#frame .field", { timeout: 2000 });
});

test("the room shows members join and leave", async () => {
  const page = await open();
  await openPhase(page, 3);
  await page.click("#reconnect");
  await isIn(page, "open");
  await openPhase(page, 3);
  const title = (text) => page.waitForFunction((wanted) => document.getElementById("room-title").textContent === wanted, text);
  await title("The room: 1 member");
  const client = await joinRoom(server, 11);
  await title("The room: 2 members");
  client.say("here I am");
  await hears(page, "here I am");
  client.leave();
  await title("The room: 1 member");

  await openPhase(page, 4);
  assert.equal(await page.textContent("#ending-title"), "How this page’s last connection ended, as the server saw it");
  await page.getByRole("button", { name: "Disconnect" }).last().click();
  await shows(page, "end", /What the browser saw: You closed the connection \(1000\)/);
  await shows(page, "ending", /leaves the room.*In total/);
  assert.match(await page.textContent("#ending"), /The client sends a Close frame.*code 1000.*0 messages, 8 bytes in/);
  assert.equal(await page.textContent("#ending-title"), "How this page’s connection ended, as the server saw it");
  await page.selectOption("#scope", "all");
  await shows(page, "ending-title", /this page’s connection/); // the last of all
});

test("phase 4 keeps showing an end until the next one", async () => {
  const page = await open();
  await openPhase(page, 4);
  await page.click("#reconnect");
  await isIn(page, "open");
  await openPhase(page, 4);
  await server.stop();
  await shows(page, "ending", /leaves the room.*server sends a Close frame.*code 1001.*In total/);
  await page.$eval("#ending ol", (list) => (list.isTheSame = true));
  await noticeSays(page, /does not answer/);
  server = await startServer({ port: server.port });
  await isIn(page, "open");
  await shows(page, "end", /This page’s connection is open/);
  await page.click("#look");
  await page.click("#look");
  await openPhase(page, 4);
  assert.equal(await page.textContent("#ending-title"), "How this page’s last connection ended, as the server saw it");
  assert.ok(await page.$eval("#ending ol", (list) => list.isTheSame)); // so it does not appear again, item by item
  await page.click("#switch");
  await shows(page, "ending", /code 1000/);
});

test("without an event stream, the panel says how to turn it on", async () => {
  await server.stop();
  server = await startServer({ options: ["--lifecycle", "off"] });
  const page = await open();
  await lookInside(page);
  await page.waitForFunction(() => /--lifecycle on/.test(document.getElementById("off").innerText));
  assert.equal(await page.isHidden("#here"), true);
  await say(page, "the chat goes on");
  await hears(page, "the chat goes on");
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds no violations, ${colorScheme}`, async () => {
    const page = await open({ colorScheme });
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" }); // or colours would be checked during a fade
    const client = await joinRoom(server, 12);
    client.say("good evening");
    await hears(page, "good evening");
    await say(page, "to you as well");
    await hears(page, "to you as well");
    const check = async (what) => {
      const { violations } = await new AxeBuilder({ page }).analyze();
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => `${node.html}: ${node.failureSummary}`)]), [], what);
    };
    await check("the chat");
    await page.click("#look");
    await page.click("#reconnect");
    await isIn(page, "open");
    for (const phase of [1, 2, 3]) {
      await openPhase(page, phase);
      if (phase === 3) await say(page, "a frame");
      await page.waitForSelector(["#request .line", "#accept", "#frame .field"][phase - 1]);
      await check(`phase ${phase}`);
    }
    await openPhase(page, 4);
    await page.click("#switch");
    await page.waitForSelector("#ending .acts");
    await check("phase 4");
    client.leave();
  });
}

for (const [width, height] of [[320, 640], [340, 700], [360, 740], [375, 667], [390, 844], [430, 932]]) {
  test(`nothing is wider than a phone screen of ${width} px`, async () => {
    const page = await open({ width, height });
    const scrollWidth = () => page.evaluate(() => document.documentElement.scrollWidth);
    const ends = (selector) => page.$eval(selector, (element) => element.getBoundingClientRect().right);
    await say(page, `${"w".repeat(300)} https://example.org/${"a/".repeat(200)}`);
    await page.waitForSelector(".message");
    assert.equal(await scrollWidth(), width);
    await page.click("#look");
    await page.click("#reconnect");
    await isIn(page, "open");
    await say(page, "a frame");
    for (const phase of [1, 2, 3, 4]) {
      await openPhase(page, phase);
      if (phase < 4) await page.waitForSelector(["#request .line", "#accept", "#frame .field"][phase - 1]);
      assert.equal(await scrollWidth(), width, `phase ${phase}`);
      for (const button of ["#look", "#switch", "#reconnect"]) assert.ok(await ends(button) <= width, `${button}, phase ${phase}`);
      const [inner, panel] = await page.$eval("#panel", ({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]);
      assert.equal(inner, panel, `phase ${phase}`);
    }
    await page.click("#look");
    assert.equal(await scrollWidth(), width, "the panel is closed");
    await openPhase(page, 4);
    assert.equal(await page.evaluate(() => document.documentElement.scrollHeight), height, "phase 4");
    await page.click("#switch");
    await isIn(page, "closed");
    assert.equal(await page.evaluate(() => document.documentElement.scrollHeight), height, "phase 4, closed");
    await page.click("#switch");
    await isIn(page, "open");
    await openPhase(page, 3);
    const bottom = (selector) => page.$eval(selector, (element) => element.getBoundingClientRect().bottom);
    assert.ok(await bottom("#room") <= await bottom("#panel"), "the room is in sight");
  });
}
