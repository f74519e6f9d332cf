// Who is in the room, and who has come and gone: shown above the messages, from the server's stream, GET /members.
//
// `chat` is what the page shares: the client's id, names, the phase and its event, and remarks among the messages. A server that does
// not show its lifecycle answers 204; then there is nothing to see.

const { chat } = globalThis;
const MOST_NAMES = 8;

const here = document.getElementById("here");
const lists = new BroadcastChannel("members"); // to and from the other pages of this browser
let last = ""; // the last list, if this page has the stream
let stop = new AbortController();
let present = null; // the members: their ids, by the numbers of their connections. null: not known, or too many

const isWatching = () => chat.phase === "loop" && !document.hidden;

/**
 * Watches while the page is in the room and visible. A browser opens six connections to a server for all its pages together, so the
 * page that has the lock has the stream, and passes the lists on.
 */
function watch() {
  stop.abort();
  stop = new AbortController();
  here.hidden = true;
  if (!isWatching()) return;
  lists.postMessage(""); // asks for the last list
  const { signal } = stop;
  const locks = navigator.locks ?? { request: (name, options, hold) => hold() }; // plain HTTP has none, except on localhost
  locks.request("members", { signal }, () => hold(signal)).catch(() => {}); // aborted
}

/** Opens the stream until the signal. */
function hold(signal) {
  const stream = new EventSource("/members");
  stream.onmessage = ({ data }) => {
    last = data;
    show(data);
    lists.postMessage(data);
  };
  return new Promise((resolve) => signal.addEventListener("abort", () => {
    stream.close();
    last = "";
    resolve();
  }));
}

lists.onmessage = ({ data }) => {
  if (data && isWatching()) show(data);
  else if (!data && last) lists.postMessage(last);
};

/** Shows the members. Those who are new or missing since the last list have come or gone. */
function show(data) {
  const total = Number(/^members: (\d+)$/m.exec(data)[1]);
  const listed = new Map([...data.matchAll(/^member: (\d+) (-?\d+)$/gm)].map(([, number, id]) => [number, id]));
  const isComplete = listed.size === total;
  const others = [...listed.values()];
  const mine = others.indexOf(chat.clientId);
  if (mine >= 0) others.splice(mine, 1);
  else if (isComplete) return; // another page's last list, from before this page joined
  const names = ["you", ...others.slice(0, MOST_NAMES).map(chat.nameOfOther)];
  const more = total - names.length;
  here.textContent = `In the room: ${names.join(", ")}${more > 0 ? ` and ${more.toLocaleString()} more` : ""}`;
  here.hidden = false;
  if (present && isComplete) {
    tell(listed, present, "joined");
    tell(present, listed, "left");
  }
  present = isComplete ? listed : null;
}

function tell(members, others, verb) {
  for (const [number, id] of members) if (!others.has(number)) chat.remark(cameAndWent, `${chat.nameOfOther(id)} ${verb}`);
}

const cameAndWent = ({ events, times }) => (times > events.length ? "…, " : "") + events.join(", ");

addEventListener("phase", () => {
  present = null; // another connection
  watch();
});
document.addEventListener("visibilitychange", watch);
watch();
