// The inspector: shows the four phases of the connection, from the server's event stream, GET /lifecycle.
//
// The page loads this script, and its style before it, when "Look inside" is first pressed. `chat` is what the scripts share: the
// inspector reads the client's id, the phase and the end of the last connection, disconnects and reconnects, and sets the hook that
// runs before connecting. It imports nothing.
//
// Of an event it uses the `name: value` lines only, never the first line, which is written for people. Text from the network is
// inserted as text; the only HTML here is the constant below.
//
// The order: the panel's structure, the lamps, the panel, the event stream, the phases one by one, a frame bit by bit.

const { chat } = globalThis;
const $ = (id) => document.getElementById(id);

/** Creates an element. Strings among the children become text nodes, so they are never parsed as HTML. */
function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* ================================================= Structure ================================================== */

const PANEL = `
<aside class="panel" id="panel" aria-label="The lifecycle" tabindex="0" hidden>
  <div class="tools" id="tools">
    <label for="scope">Watching</label>
    <select id="scope"><option value="mine">this page’s ID</option><option value="all">all connections</option></select>
    <span id="missed" class="soft"></span>
    <button type="button" id="diagram" title="Copy what this connection did, as a Mermaid sequence diagram">Copy as diagram</button>
    <button type="button" id="reconnect">Reconnect and watch</button>
  </div>
  <section id="off" hidden><div class="card"><h3>This server sends no event stream</h3><p>It may have too many viewers, or the
    stream is off, as it is by default unless the server listens on loopback addresses alone. Turn it on with <code>switchboard --lifecycle on</code>, but not on a public server: the
    events contain everyone’s messages.</p></div></section>

  <section id="phase-0" aria-labelledby="title-0" hidden>
    <hgroup><p class="eyebrow">Phase 1 of 4: HTTP</p><h2 id="title-0">It begins as an ordinary HTTP request</h2></hgroup>
    <p class="lead">In HTTP, the browser sends a request and the server sends a response. A chat needs a connection that stays open,
      on which either side can send at any time: a WebSocket. To get one, the browser opens a TCP connection and sends an HTTP
      request that asks the server to switch to another protocol.</p>
    <div id="request"></div>
  </section>

  <section id="phase-1" aria-labelledby="title-1" hidden>
    <hgroup><p class="eyebrow">Phase 2 of 4: Upgrade</p><h2 id="title-1">The server proves that it speaks WebSocket</h2></hgroup>
    <p class="lead">The server checks the request. Then it appends a fixed text, the same for every WebSocket server, to the browser’s
      random key, and sends back the hash of the result. Only a server that implements WebSocket gives this answer. After the
      response, the connection no longer speaks HTTP.</p>
    <div id="checks"></div>
    <div id="derivation"></div>
    <div id="response"></div>
  </section>

  <section id="phase-2" aria-labelledby="title-2" hidden>
    <hgroup><p class="eyebrow">Phase 3 of 4: Event loop</p><h2 id="title-2">Both sides send frames at any time</h2></hgroup>
    <p class="lead">The server lists the chat's connections: the room. It sends each message to every member of the room, the
      sender included. A message travels in a frame: a short header that describes it, then the text.</p>
    <div class="card live"><h3 id="room-title">The room</h3><div id="room"></div></div>
    <div class="card" id="frame-card" hidden>
      <div class="row"><h3 id="frame-title"></h3><button type="button" id="follow" hidden>Follow the newest</button>
        <button type="button" id="command-of-frame" title="Copy as switchboard frame …, which decodes it in a terminal">Copy as command</button></div>
      <p id="purpose" class="small"></p>
      <div id="frame"></div>
      <p class="soft small">Point at a field, or move to it with the Tab key.</p>
      <div id="explain"></div>
      <div id="payload"></div>
    </div>
    <div id="late"></div>
    <div class="live"><h3 id="frames-title">Frames, newest first</h3><p class="soft small">Open one to see its bits.</p></div>
    <ol id="frames" class="live" aria-labelledby="frames-title"></ol>
  </section>

  <section id="phase-3" aria-labelledby="title-3" hidden>
    <hgroup><p class="eyebrow">Phase 4 of 4: Termination</p><h2 id="title-3">The closing handshake, then the end of TCP</h2></hgroup>
    <p class="lead">Either side may send a Close frame that says why it closes. The other side answers with a Close frame of its own, so
      both know that no more messages follow. The server removes the member from the room, then closes the TCP connection. A
      connection that breaks without a Close frame ends here too.</p>
    <div id="end"></div>
    <div class="card" id="ending-card"><h3 id="ending-title"></h3><div id="ending"></div></div>
  </section>
</aside>`;

/* ================================================= The lamps ================================================== */

const PHASES = ["http", "upgrade", "loop", "termination"]; // event names, and the values of chat.phase
const LABELS = ["HTTP", "Upgrade", "Event loop", "Termination"];
const LAMP_PAUSE = 260; // ms between lamps; on one machine all of it takes under 1 ms

document.querySelector("main").insertAdjacentHTML("afterbegin", PANEL);
document.querySelector(".bar p").replaceWith(el("ol", { id: "phases" }));

const lamps = LABELS.map((label, index) => {
  const number = el("span", { className: "number", ariaHidden: "true" }, String(index + 1));
  const status = el("span", { className: "unseen" });
  const button = el("button", { type: "button", ariaExpanded: "false" }, number, el("span", {}, label), status);
  button.setAttribute("aria-controls", `phase-${index}`);
  button.onclick = () => openPanel(index);
  const item = el("li", {}, button);
  $("phases").append(item);
  return { item, number, status, button };
});

let lit = -1; // the lamp that is on
let lampTimer = 0;

/** Lights the lamps one after another, up to the connection's phase. For a new connection it starts at the first again. */
function lightUp() {
  const phase = PHASES.indexOf(chat.phase);
  if (phase < lit) lit = -1;
  clearTimeout(lampTimer);
  (function next() {
    lit = Math.min(lit + 1, phase);
    lamps.forEach(({ item, status }, index) => {
      const name = index < lit ? "done" : index > lit ? "" : chat.refused && lit === phase ? "failed" : "now";
      item.className = name;
      status.textContent = { done: " (done)", now: " (now)", failed: " (refused)" }[name] ?? "";
    });
    if (lit < phase) lampTimer = setTimeout(next, LAMP_PAUSE);
  })();
}

function blip(phase) {
  const { number } = lamps[phase];
  number.classList.remove("blip");
  requestAnimationFrame(() => number.classList.add("blip"));
}

/* ================================================= The panel ================================================== */

const panel = $("panel");
let shownPhase = -1; // -1: the panel is closed, and so is the event stream

/** Opens the panel at a phase; -1 closes it and the event stream. */
function openPanel(phase) {
  const open = phase >= 0;
  shownPhase = phase;
  panel.hidden = !open;
  panel.scrollTop = 0;
  document.body.classList.toggle("looking", open);
  $("look").textContent = open ? "Close" : "Look inside";
  $("look").classList.toggle("main", !open);
  $("look").ariaExpanded = open;
  lamps.forEach(({ button }, index) => {
    button.ariaExpanded = index === phase;
    $(`phase-${index}`).hidden = index !== phase;
  });
  if (!open) unwatch();
  else if (stream) drawPhase();
  else watch();
}

function reconnectAndWatch() {
  openPanel(0);
  chat.reconnect();
}

/* ============================================== The event stream ============================================== */

const READY_PAUSE = 400; // ms a connection waits for the event stream
const DRAW_PAUSE = 120; // ms between drawings, however many events arrive
const MOST_CONNECTIONS = 200;
const MOST_FRAMES = 100;
const SLOW_TIME = 2_000; // ms in which a speaker that had to wait is shown as such

let stream = null;
let streamOpened; // a promise
let off = false; // this server sends no event stream
const connections = new Map(); // by number, the most recently active last
let connectionCount = 0; // so far: numbers begin again with the next server
const lastEnded = { mine: null, all: null }; // the connections whose end phase 4 shows, until the next one
const frames = { mine: [], all: [] }; // the newest last
let members = 0; // in the room, as counted by the server
let moves = []; // dots to be moved between the room and its members
let drawing = 0; // a timer
let frameCount = 0;

/** What was seen before stays, except who is in the room: the stream begins with the members. */
function watch() {
  for (const connection of connections.values()) connection.member = false;
  members = 0;
  stream = new EventSource("/lifecycle");
  streamOpened = new Promise((resolve) => (stream.onopen = resolve));
  streamOpened.then(() => setOff(false));
  stream.onerror = ({ target }) => target === stream && target.readyState === EventSource.CLOSED && setOff(true);
  stream.addEventListener("missed", ({ data }) => ($("missed").textContent = `${parseFields(data).steps} steps were too fast to show`));
  PHASES.forEach((name, phase) => stream.addEventListener(name, (event) => takeStep(phase, parseFields(event.data))));
}

function unwatch() {
  stream?.close();
  stream = null;
}

/** While the panel is open, a connection waits briefly for the stream, so that the stream contains its handshake. */
function streamReady() {
  if (!stream || stream.readyState === EventSource.OPEN) return null;
  stream.close(); // its own retry comes too late to see the handshake
  watch();
  return Promise.race([streamOpened, new Promise((resolve) => setTimeout(resolve, READY_PAUSE))]);
}

function setOff(value) {
  off = value;
  $("off").hidden = !off;
  $("tools").hidden = off;
  panel.classList.toggle("off", off);
  drawPhase();
}

/** Parses the `name: value` lines after the first line. The values of a repeated name are joined by line breaks. */
function parseFields(data) {
  const fields = {};
  for (const line of data.split("\n").slice(1)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    fields[name] = name in fields ? `${fields[name]}\n${value}` : value;
  }
  return fields;
}

/** Undoes Rust's escapes: \r, \n, \u{1b}, \\ and so on. */
function unescape(text = "") {
  const plain = { r: "\r", n: "\n", t: "\t", 0: "\0" };
  return text.replace(/\\(?:u\{(\w+)\}|x(\w\w)|(.))/g, (_, u, x, c) =>
    c ? plain[c] ?? c : String.fromCodePoint(parseInt(u ?? x, 16)));
}

function takeStep(phase, step) {
  if (step.step === "accepted") connections.delete(step.connection); // numbers begin again with a new server
  const connection = connectionOf(step);
  const name = step.step;
  if (!(phase === 2 && name.startsWith("frame"))) connection.changes += 1;
  if (name === "check") connection.checks.push(step);
  else if (phase === 3) connection.acts.push(step);
  else connection[name] = step;
  if (name === "request") Object.assign(connection, { checks: [], acts: [], arrows: [], gone: false, opening: /upgrade: *websocket/i.test(step.bytes) });
  if (name === "left") connection.gone = true;
  if (name === "waited") connection.slowUntil = performance.now() + SLOW_TIME;
  if (phase === 2) connection.opening = true;
  if (phase === 3 && connection.opening) lastEnded.all = connection;
  if (phase === 3 && isMine(connection)) lastEnded.mine = connection;
  // A member whose step `joined` was left out is recognised by what it does.
  connection.member = !connection.gone && (connection.member || name === "joined" || name === "present" || name === "broadcast" || (phase === 2 && connection.client !== null));
  if (step.members) members = Number(step.members);
  if (name === "frame-in" || name === "frame-out") takeFrame(connection, step);
  if (connection.arrows.length < MOST_ARROWS) connection.arrows.push(...arrowOf(step));
  if (isWatched(connection)) blip(phase);
  drawing ||= setTimeout(drawPhase, DRAW_PAUSE);
}

function connectionOf({ connection: number, client }) {
  const connection = connections.get(number)
    ?? { number, serial: ++connectionCount, client: null, member: false, opening: false, checks: [], acts: [], arrows: [], changes: 0 };
  connection.client = client ?? connection.client;
  connections.delete(number); // re-inserted last
  connections.set(number, connection);
  for (const [old, { member }] of connections) {
    if (connections.size <= MOST_CONNECTIONS) break;
    if (!member || connections.size > 2 * MOST_CONNECTIONS) connections.delete(old);
  }
  return connection;
}

function takeFrame(connection, step) {
  const incoming = step.step === "frame-in";
  const frame = { ...step, incoming, connection, number: ++frameCount };
  for (const list of isMine(connection) ? [frames.mine, frames.all] : [frames.all]) {
    list.push(frame);
    if (list.length > MOST_FRAMES) list.shift();
  }
  moves.push({ incoming, connection: connection.number, control: Number(step.opcode) >= 8 });
}

const isMine = (connection) => connection.client === chat.clientId; // or of another client with the same id
const isWatched = (connection) => (scope === "all" ? connection.opening : isMine(connection));
const hasNamesake = () => [...connections.values()].filter((one) => one.member && isMine(one)).length > 1;

/** A short name: the id after its #. */
function nameOf(connection) {
  if (isMine(connection) && chat.phase === "loop") return hasNamesake() ? "your ID" : "you";
  return connection.client ? chat.nameOf(connection.client).slice("Client ".length) : "?";
}

let scope = "mine"; // or "all"

/* ============================================== Drawing a phase =============================================== */

const drawn = new Map(); // element id -> key of its content; unchanged content is left alone, with its focus and selection

function drawOnce(id, key, build) {
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  $(id).replaceChildren(...[build()].flat().filter(Boolean));
}

function drawPhase() {
  clearTimeout(drawing);
  drawing = 0;
  if (shownPhase < 0) return;
  const watched = [...connections.values()].filter((one) => isWatched(one) && (shownPhase === 2 || one.request)).at(-1);
  const connection = shownPhase === 3 ? lastEnded[scope] : watched;
  [drawRequest, drawUpgrade, drawLoop, drawEnding][shownPhase](connection, connection ? `${connection.serial}:${connection.changes}` : `none ${off}`);
  shownConnection = connection;
  $("diagram").hidden = !connection?.arrows.length;
  if (shownPhase !== 2) moves = [];
  showSought();
}

const card = (...children) => el("div", { className: "card offer" }, ...children);
const button = (label, onclick) => el("button", { type: "button", className: "main", onclick }, label);

/** In place of something that the stream did not contain. */
const offer = (text) => !off && card(el("p", {}, text), button("Reconnect and watch", reconnectAndWatch));

const nextButton = (phase, text) => el("button", { type: "button", className: "next", onclick: () => openPanel(phase) }, `${text} →`);

/** Makes the children appear one after another. */
function unfold(list) {
  list.classList.add("unfold");
  [...list.children].forEach((child, index) => child.style.setProperty("--i", index));
  return list;
}

/* =========================================== Phases 1 and 2: handshake ======================================== */

const REQUEST_NOTES = {
  get: "The path. A WebSocket handshake is a GET request in HTTP/1.1.",
  host: "The server that is meant: several names may share one address.",
  origin: "The page that asks. The server accepts only allowed pages, so others can’t chat in your name.",
  upgrade: "Asks the server to switch to WebSocket.",
  connection: "Upgrade concerns this connection only; proxies don’t forward it.",
  "sec-websocket-key": "16 random bytes in base64, new for each connection. It is not a secret: the server derives its answer from it.",
  "sec-websocket-version": "13, the only version in use.",
};
const RESPONSE_NOTES = {
  "http/1.1": "Only 101 agrees: then no HTTP follows the empty line.",
  upgrade: "The new protocol.",
  connection: "Upgrade concerns this connection.",
  "sec-websocket-accept": "The accept value computed above: the proof.",
};

/** An HTTP head line by line, as on the wire. The lines of the handshake are marked and explained. */
function httpHead(bytes, notes, title, part) {
  const lines = unescape(bytes).split("\r\n").slice(0, -2);
  const rows = lines.map((line) => {
    const [, name, value] = /^([^: ]*)(.*)$/.exec(line);
    const note = notes[name.toLowerCase()];
    const text = note ? [el("mark", {}, name), value] : [line];
    return el("div", { className: note ? "line marked" : "line", id: anchorOf(part, name) }, el("code", {}, ...text), el("span", { className: "note" }, note ?? ""));
  });
  return el("div", { className: "card" }, el("h3", {}, title), unfold(el("div", {}, ...rows)));
}

function drawRequest(connection, key) {
  drawOnce("request", key, () => (connection?.request
    ? [httpHead(connection.request.bytes, REQUEST_NOTES, "The request, without secrets", "request"), nextButton(1, "Next: the upgrade")]
    : offer("This page sent its request before you looked.")));
}

function drawUpgrade(connection, key) {
  const known = connection?.request;
  drawOnce("checks", key, () => (known && connection.checks.length ? checks(connection.checks) : offer("This page’s handshake was over before you looked.")));
  drawOnce("derivation", key, () => known && connection.accept && derivation(connection));
  const answer = known && (connection.switching ?? connection.response);
  drawOnce("response", key, () => answer && [httpHead(answer.bytes, RESPONSE_NOTES, "The response", "response"), nextButton(2, "Next: the event loop")]);
}

function checks(list) {
  const items = list.map(({ rule, sent, result }) => el("li", { className: result, title: unescape(sent), id: anchorOf("upgrade", rule) },
    el("span", { className: "tick" }, result === "passed" ? "✓ " : "✗ "), rule, el("span", { className: "unseen" }, ` ${result}`), " ", el("code", { className: "soft cut" }, unescape(sent))));
  return el("div", { className: "card" }, el("h3", {}, "The server’s checks"), unfold(el("ul", { className: "checks" }, ...items)));
}

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

function derivation({ key, digest, accept }) {
  const item = (name, id, value, note) =>
    el("li", { id: `upgrade-${id}` }, el("b", {}, name), el("code", { id }, value), el("span", { className: "note" }, note));
  const list = el("ol", { className: "derive" },
    item("key", "key", key?.key ?? "", `From the request. It is base64 for these 16 bytes: ${spaced(key?.bytes ?? "")}`),
    item("+ GUID", "guid", GUID, "The fixed text of RFC 6455, appended to the key."),
    item("→ SHA-1 digest", "digest", digest?.sha1 ?? "", "The hash of both: 20 bytes, written as 40 hex digits."),
    item("→ accept value", "accept", el("mark", {}, accept.value), "The digest in base64. The browser computes the same value, and closes the connection if they differ."));
  return el("div", { className: "card" }, el("h3", {}, "How the accept value is computed"), unfold(list));
}

const spaced = (hex) => bytesOf(hex).map(hexOf).join(" ");

/* ================================================ Phase 4: the end ============================================ */

const WHO = { client: "The client", server: "The server", network: "The network" };

function drawEnding(connection, key) {
  const isOpen = chat.phase === "loop";
  drawOnce("end", [isOpen, chat.end, !connection, off].join(), () => {
    if (isOpen) return card(el("p", {}, "This page’s connection is open. Disconnect to see how it ends."), button("Disconnect", chat.disconnect));
    if (chat.end) return card(el("p", {}, el("b", {}, "What the browser saw: "), chat.end), button("Connect", chat.reconnect));
    return !connection && offer("No connection has ended since you looked.");
  });
  $("ending-card").hidden = !connection;
  if (!connection) return;
  const whose = isMine(connection) ? `this page’s ${isOpen ? "last " : ""}connection` : `the connection of ${chat.nameOf(connection.client ?? "?")}`;
  $("ending-title").textContent = `How ${whose} ended, as the server saw it`;
  drawOnce("ending", key, () => {
    const items = connection.acts.map((act) =>
      el("li", { id: anchorOf("termination", act.step) }, el("span", { className: "when" }, act.ms ? `${(act.ms / 1000).toFixed(3)} s` : ""), el("div", {}, ...ending(act))));
    return unfold(el("ol", { className: "acts" }, ...items));
  });
}

function ending({ step, by, code, meaning, reason, members: left, ...life }) {
  const why = [code ? `code ${code}` : step === "close" && "without a code", meaning, reason && `“${unescape(reason)}”`].filter(Boolean).join(", ");
  const [what, detail] = {
    close: [`${WHO[by]} sends a Close frame`, why],
    "close-answer": [`${WHO[by]} answers with a Close frame`, why],
    "tcp-closed": [`${WHO[by]} ends the TCP connection`, by === "network" ? "without a Close frame" : "nothing more can be sent"],
    left: ["The member leaves the room", `members remaining: ${left}`],
    life: ["In total", `${chat.count(life.messages, "message")}, ${chat.count(life["bytes-in"], "byte")} in, ${chat.count(life["bytes-out"], "byte")} out, ${Number(life.seconds).toFixed(1)} s`],
  }[step] ?? [step, ""];
  return [el("b", {}, what), el("span", { className: "soft small" }, detail)];
}

/* ================================================ Phase 3: the room =========================================== */

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MEMBER_WIDTH = 74; // px
const MEMBER_Y = 96;
const ROOM = { y: 22, height: 34 };
const MOST_MOVES = 60; // dots drawn at once

function drawLoop(connection) {
  const known = connection || scope === "all";
  drawOnce("late", [!known, off].join(), () => !known && offer("This page’s connection was opened before you looked. Reconnect to see all of it."));
  drawRoom();
  drawFrames();
  play(moves.splice(0));
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Draws the room and a ring for each member. Members that do not fit, and those not yet known, are only counted. */
function drawRoom() {
  const width = $("room").clientWidth;
  const known = [...connections.values()].filter((one) => one.member).sort((a, b) => a.number - b.number);
  const total = Math.max(members, known.length);
  const fitting = Math.max(1, Math.floor(width / MEMBER_WIDTH));
  const shown = known.slice(0, known.length < total || known.length > fitting ? fitting - 1 : fitting);
  const rest = total - shown.length;
  const slow = known.filter((one) => one.slowUntil > performance.now()).map(nameOf);
  $("room-title").textContent = (total ? `The room: ${total === 1 ? "1 member" : `${total} members`}` : "The room")
    + (slow.length ? `. Read slowly, because others are behind: ${slow.join(", ")}` : "");
  drawOnce("room", [chat.phase, width, total, ...shown.map((one) => one.serial + nameOf(one))].join(), () => {
    const count = shown.length + (rest ? 1 : 0);
    const at = (index) => (width * (index + 0.5)) / count;
    const board = svg("svg", { role: "img", "aria-label": `In the room: ${shown.map(nameOf).join(", ")}${rest ? ` and ${rest} more` : ""}` });
    const rings = shown.map((one, index) => ring(at(index), width / 2, nameOf(one), `Client #${one.client ?? "?"}, connection ${one.number}`, { "data-number": one.number, class: isMine(one) ? "you" : "" }));
    if (rest) rings.push(ring(at(shown.length), width / 2, `${rest} more`, "", { "data-number": "rest" }));
    const room = [svg("rect", { class: "room-box", x: width / 2 - 60, y: ROOM.y - ROOM.height / 2, width: 120, height: ROOM.height, rx: 10 }),
      svg("text", { class: "room-name", x: width / 2, y: ROOM.y + 5 }, "the room")];
    if (!total) room.push(svg("text", { x: width / 2, y: MEMBER_Y - 20 }, chat.phase === "loop" ? "Send a message to see it reach every member." : "Not connected"));
    board.append(...rings, svg("g", { class: "dots" }), ...room);
    return board;
  });
}

function ring(x, middle, name, title, attributes) {
  return svg("g", { ...attributes, "data-x": x },
    svg("title", {}, title),
    svg("line", { class: "link", x1: middle, y1: ROOM.y, x2: x, y2: MEMBER_Y - 10 }),
    svg("circle", { class: "ring", cx: x, cy: MEMBER_Y - 10, r: 11 }),
    svg("circle", { class: "core", cx: x, cy: MEMBER_Y - 10, r: 3.5 }),
    svg("text", { x, y: MEMBER_Y + 18 }, name));
}

/** Moves a dot from the member to the room for each frame in, then a dot to the member for each frame out. */
function play(list) {
  const board = $("room").firstChild;
  if (!board || document.hidden) return;
  const wait = list.some((move) => move.incoming) ? 380 : 0;
  for (const { incoming, connection, control } of list.slice(-MOST_MOVES)) {
    const member = board.querySelector(`[data-number="${connection}"]`) ?? board.querySelector('[data-number="rest"]');
    if (!member) continue;
    const ends = [[board.clientWidth / 2, ROOM.y], [Number(member.dataset.x), MEMBER_Y - 10]];
    if (calm.matches) glow(member);
    else run(board, incoming ? ends.reverse() : ends, incoming ? 0 : wait, control).then(() => incoming || glow(member));
  }
}

async function run(board, ends, delay, control) {
  const dot = svg("circle", { class: control ? "dot control" : "dot", r: control ? 3.5 : 6 });
  board.querySelector(".dots").append(dot);
  const steps = ends.map(([x, y]) => ({ transform: `translate(${x}px, ${y}px)` }));
  await dot.animate(steps, { duration: 420, delay, easing: "ease-in-out", fill: "both" }).finished.catch(() => {});
  dot.remove();
}

function glow(member) {
  member.classList.add("hit");
  setTimeout(() => member.classList.remove("hit"), 350);
}

/* =============================================== Phase 3: the frames ========================================== */

let openedFrame = null; // the frame whose bits are shown
let pinned = false; // the user chose it, so newer frames do not replace it

function drawFrames() {
  const list = $("frames");
  const wanted = frames[scope];
  const present = new Set(wanted.map((frame) => String(frame.number)));
  for (const item of [...list.children]) if (!present.has(item.dataset.number)) item.remove();
  const newest = Number(list.firstChild?.dataset.number ?? 0);
  for (const frame of wanted) if (frame.number > newest) list.prepend(frameItem(frame));
  const busy = $("frame-card").matches(":hover, :focus-within"); // the user is reading it
  const latest = wanted.findLast((frame) => Number(frame.opcode) < 8 && frame.incoming) ?? wanted.at(-1);
  if (!openedFrame || (!pinned && !busy)) openFrame(latest ?? null);
}

/** Of control frames (RFC 6455 5.5): what they say, and what they are for. */
const NOTES = { 9: "“Are you still there?”", 10: "“Still here.”" };
const PURPOSES = {
  8: "A Close frame begins the closing handshake, or answers one. Its payload is a code and a reason.",
  9: "A Ping asks whether the other side is still there. That side must answer with a Pong. A browser does so by itself; the page’s script sees neither.",
  10: "A Pong answers a Ping, and has the same payload. It shows that the client is still there, and keeps the connection alive in routers and proxies.",
};

function frameItem(frame) {
  const who = frame.incoming ? `${nameOf(frame.connection)} → server` : `server → ${nameOf(frame.connection)}`;
  const button = el("button", { type: "button", ariaPressed: "false" },
    el("span", { className: "cut" }, who), el("span", {}, frame.name), el("span", { className: "soft" }, `${frame.length} B`),
    el("span", { className: "cut soft", dir: "auto" }, unescape(frame.text) || (NOTES[frame.opcode] ?? "")));
  button.onclick = () => {
    pinned = true;
    openFrame(frame);
    $("frame-card").scrollIntoView({ block: "nearest" });
  };
  const item = el("li", {}, button);
  item.dataset.number = frame.number;
  return item;
}

function followNewest() {
  pinned = false;
  openFrame(null);
  drawFrames();
}

function openFrame(frame) {
  if (!frame) pinned = false;
  $("follow").hidden = !pinned;
  for (const item of $("frames").children) item.firstChild.ariaPressed = Number(item.dataset.number) === frame?.number;
  if (frame === openedFrame) return;
  openedFrame = frame;
  $("frame-card").hidden = !frame;
  if (!frame) return;
  $("frame-title").textContent = `The bits of a ${frame.name} frame ${frame.incoming ? "from" : "to"} ${nameOf(frame.connection)}`;
  const fields = frameFields(frame);
  const grid = bitGrid(fields);
  $("frame").replaceChildren(grid);
  markField(grid, fields, "0");
  $("purpose").textContent = PURPOSES[frame.opcode] ?? "";
  $("payload").replaceChildren(maskTable(frame));
}

/* ============================================= A frame, bit by bit ============================================ */

const SHOWN_BYTES = 16; // of the payload
const OPCODES = "0 continues a message, 1 is text, 2 binary, 8 Close, 9 Ping, 10 Pong";

const bytesOf = (hex = "") => (hex.match(/[0-9a-f]{2}/gi) ?? []).map((byte) => parseInt(byte, 16));
const bitsOf = (bytes) => bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("");
const hexOf = (byte) => byte.toString(16).padStart(2, "0");

/** The fields in wire order, each as [name, kind, bits, meaning]. */
function frameFields(frame) {
  const form = Number(frame.form), masked = frame.mask === "1", length = Number(frame.length);
  const header = bitsOf(bytesOf(frame.header));
  const fields = [
    ["FIN", "flag", header.slice(0, 1), frame.fin === "1" ? "1: the last or only frame of its message." : "0: the message continues in another frame."],
    ...[1, 2, 3].map((n) => [`RSV${n}`, "flag", header.slice(n, n + 1), "Reserved for extensions, such as compression. No extension is in use here, so it must be 0."]),
    ["opcode", "opcode", header.slice(4, 8), `${frame.opcode}: a ${frame.name} frame. ${OPCODES}.`],
    ["MASK", "mask", header.slice(8, 9), masked ? "1: the payload is masked. A client must mask." : "0: not masked. A server must not mask."],
    ["length", "length", header.slice(9, 16), form === 7 ? `${length}: the number of payload bytes.` : `${form === 16 ? 126 : 127}: the length does not fit into 7 bits, so it follows in ${form} bits.`],
  ];
  if (form > 7) fields.push(["extended length", "length", header.slice(16, 16 + form), `${length.toLocaleString()}: the number of payload bytes.`]);
  if (masked) {
    fields.push(["masking key", "mask", bitsOf(bytesOf(frame["masking-key"])),
      "4 random bytes, new for each frame. Each payload byte is XORed with the next key byte, and the key repeats after its fourth byte. This hides nothing, because the key is in the frame; but a web page can’t choose the bytes on the wire, so it can’t make them look like HTTP to a faulty proxy."]);
  }
  const payload = bytesOf(masked ? frame.masked : frame.payload).slice(0, SHOWN_BYTES);
  const meaning = `${length.toLocaleString()} bytes of payload, ${masked ? "masked: the table below has the clear bytes" : "not masked"}.${length > payload.length ? ` The first ${payload.length} are shown.` : ""}`;
  if (payload.length) fields.push([masked ? "masked payload" : "payload", "payload", bitsOf(payload), meaning]);
  return fields;
}

/** 32 bits a row. A field that reaches the end of a row continues in the next; a payload is divided into bytes. */
function bitGrid(fields) {
  const grid = el("div", { className: "bits", role: "group", ariaLabel: "The bits of the frame" });
  for (let bit = 0; bit < 32; bit++) grid.append(el("span", { className: "rule", ariaHidden: "true" }, bit % 8 ? "" : String(bit)));
  let at = 0;
  fields.forEach(([name, kind, bits, meaning], index) => {
    const step = kind === "payload" ? 8 : 32;
    for (let from = 0; from < bits.length;) {
      const width = Math.min(bits.length - from, step, 32 - (at % 32));
      grid.append(cell({ name, kind, meaning, index, all: bits, bits: bits.slice(from, from + width), at: from }));
      from += width;
      at += width;
    }
  });
  const mark = ({ target }) => markField(grid, fields, target.closest(".field")?.dataset.index);
  grid.addEventListener("pointerover", mark);
  grid.addEventListener("click", mark);
  grid.addEventListener("focusin", mark);
  return grid;
}

function cell({ name, kind, meaning, index, all, bits, at }) {
  const first = at === 0;
  const part = el("div", { className: `field f-${kind}` });
  part.style.gridColumn = `span ${bits.length}`;
  part.style.gridTemplateColumns = `repeat(${bits.length}, minmax(0, 1fr))`;
  part.dataset.index = index;
  const label = el("span", { className: bits.length < 3 ? "label up" : "label" }, kind === "payload" ? `byte ${at / 8 + 1}` : first ? name : "⋯");
  part.append(label, ...[...bits].map((bit) => el("span", { className: "bit" }, bit)));
  if (bits.length % 8 === 0) part.append(el("span", { className: "hex" }, bits.match(/.{8}/g).map((byte) => hexOf(parseInt(byte, 2))).join(" ")));
  if (first) Object.assign(part, { tabIndex: 0, id: anchorOf("frame", name.replace("masked ", "")), role: "img", ariaLabel: `${name}: ${all.length > 64 ? "" : `${all}, `}${meaning}` });
  else part.ariaHidden = "true";
  return part;
}

function markField(grid, fields, index) {
  if (index === undefined) return;
  for (const part of grid.querySelectorAll(".field")) part.classList.toggle("on", part.dataset.index === index);
  const [name, , bits, meaning] = fields[index];
  const anchor = `#${anchorOf("frame", name.replace("masked ", ""))}`;
  $("explain").replaceChildren(el("a", { href: anchor, title: "A link to this field" }, name), ` (${bits.length === 1 ? "1 bit" : `${bits.length} bits`}). ${meaning}`);
}

/** A column for each byte: as on the wire, the key byte, the clear byte, and the character. */
function maskTable(frame) {
  const clear = bytesOf(frame.payload).slice(0, SHOWN_BYTES), masked = bytesOf(frame.masked), key = bytesOf(frame["masking-key"]);
  if (!clear.length) return "";
  const column = (kind, ...texts) => el("div", { className: kind }, ...texts.filter(Boolean).map(([name, text]) => el("span", { className: name }, text)));
  const legend = column("byte legend", masked.length && ["", "masked"], masked.length && ["key", "key"], ["clear", "clear"], ["", "text"]);
  const columns = clear.map((byte, i) => column("byte",
    masked.length && ["wire", hexOf(masked[i] ?? 0)], masked.length && ["key", hexOf(key[i % 4] ?? 0)], ["clear", hexOf(byte)], ["", letter(byte)]));
  const more = Number(frame.length) - clear.length;
  return el("div", {}, el("h3", {}, masked.length ? "Masked and clear: masked XOR key = clear" : "The payload, byte by byte"),
    el("div", { className: "bytes" }, legend, ...columns), more > 0 ? el("p", { className: "soft small" }, `… and ${more.toLocaleString()} more bytes`) : "");
}

const letter = (byte) => (byte > 32 && byte < 127 ? String.fromCharCode(byte) : byte === 32 ? "␣" : "·");

/* ============================================ Links, commands, diagrams ======================================== */

const PARTS = { http: 0, request: 0, upgrade: 1, response: 1, loop: 2, frame: 2, termination: 3 }; // how an anchor begins
const MOST_ARROWS = 200; // in a diagram

/** The anchor of a field or a step, such as frame-masking-key. Other pages may link to it, so it must not change. */
const anchorOf = (part, name) => `${part}-${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;

let sought = ""; // the anchor in the page's address, until it is shown
let shownConnection; // the one that the phase shows

/** Opens the phase of the anchor in the page's address. Returns whether there is one. */
function followAnchor() {
  const phase = PARTS[location.hash.slice(1).split("-")[0]];
  if (phase === undefined) return false;
  sought = location.hash.slice(1);
  openPanel(phase);
  return true;
}

/** Shows what the anchor names, as soon as it is there: a frame's fields come with the first frame. */
function showSought() {
  const target = sought && document.getElementById(sought);
  if (!target) return;
  sought = "";
  target.scrollIntoView({ block: "center" });
  target.classList.add("sought");
  target.focus();
}

async function copy(button, text) {
  const label = button.textContent;
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  button.textContent = copied ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = label), 2000);
}

const commandOf = (frame) => `switchboard frame ${[frame.header, frame.masked ?? frame.payload].filter(Boolean).join(" ")}`;

/** The lines of a diagram for one step: none, or one. */
function arrowOf({ step, bytes, name, length, text, by }) {
  const firstLine = () => unescape(bytes).split("\r\n", 1)[0];
  const frame = () => [`${name}, ${chat.count(length, "byte")}`, unescape(text)].filter(Boolean).join(": ");
  const words = {
    request: () => ["C->>S", firstLine()], switching: () => ["S->>C", firstLine()], response: () => ["S->>C", firstLine()],
    "frame-in": () => ["C->>S", frame()], "frame-out": () => ["S->>C", frame()],
    joined: () => ["Note over S", "the member joins the room"], left: () => ["Note over S", "the member leaves the room"],
    "tcp-closed": () => ["Note over C,S", `TCP is closed first by the ${by}`],
  }[step]?.();
  return words ? [`    ${words[0]}: ${mermaid(words[1])}`] : [];
}

/** Escapes what Mermaid would not take for text. */
const mermaid = (text) => text.replace(/[;#<>"\p{Cc}]/gu, (character) => `#${character.codePointAt(0)};`);

function diagramOf({ client, arrows }) {
  const head = ["sequenceDiagram", `    participant C as ${client ? mermaid(chat.nameOf(client)) : "client"}`, "    participant S as server"];
  const more = arrows.length < MOST_ARROWS ? [] : ["    Note over C,S: and more"];
  return [...head, ...arrows, ...more].join("\n");
}

/* =================================================== Start ==================================================== */

addEventListener("phase", () => {
  lightUp();
  drawPhase();
});
chat.beforeConnect = streamReady;
$("look").onclick = () => openPanel(shownPhase >= 0 ? -1 : 2);
$("reconnect").onclick = reconnectAndWatch;
$("follow").onclick = followNewest;
$("scope").onchange = () => {
  scope = $("scope").value;
  drawPhase();
};
lightUp();
$("diagram").onclick = ({ target }) => copy(target, diagramOf(shownConnection));
$("command-of-frame").onclick = ({ target }) => copy(target, commandOf(openedFrame));
addEventListener("hashchange", followAnchor);
// A hidden page does not watch: a browser opens six connections to a server, for all its tabs together.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) unwatch();
  else if (shownPhase >= 0) watch();
});
if (!followAnchor()) openPanel(2);
