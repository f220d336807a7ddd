/* The Orchestration page: one run, or all runs.
 *
 * It renders what the API tells, and explains nothing by itself: reasons and evidence are the recorded decisions.
 * Names come from strangers, so all text goes through `h`, which makes text nodes; nothing here parses markup.
 */

const POLL_SECONDS = 3;
const UNKNOWN_POLL_SECONDS = 10;
const SILENT_POLL_SECONDS = 30;
const SILENT_MINUTES = 10; // without a sign of life after the last thing that was waited for
const LONGEST_WAIT_SECONDS = 60;
const ANSWER_SECONDS = 10; // to wait for an answer
const MANY_FEEDS = 12; // up to here the feeds of all branches are shown without a click
const MOST_ROWS = 300; // of one table; the filter finds the others
const MOST_LABELLED_BARS = 60; // a chart of more has thin bars, and its names in the table
const ROUTE = "orchestration"; // of the tab that this page is on a run
const RUNS_ROUTE = "orchestration_runs"; // of the entry under Browse
const SVG = "http://www.w3.org/2000/svg";

/* ---------- Elements ---------- */

const TURNING = /[\u202a-\u202e\u2066-\u2069]/g; // characters that show what follows them in another order
const honest = (text) => String(text).replace(TURNING, "\ufffd");

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : honest(value));
  }
  const there = children.flat(Infinity).filter((it) => it !== null && it !== undefined && it !== false);
  node.append(...there.map((it) => (it instanceof Node ? it : honest(it))));
  return node;
}

const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

/** Join nodes by a separator. */
const joined = (nodes, separator = ", ") => nodes.flatMap((node, at) => (at ? [separator, node] : [node]));

/* ---------- Numbers, times, words ---------- */

const LOCALE = navigator.language || "en"; // numbers and times as the reader writes them; the words are English
/** To make a formatter takes far longer than to use it, so each is made once. */
function once(make) {
  const made = new Map();
  return (key) => made.get(key) ?? made.set(key, make(key)).get(key);
}

const numbers = once((digits) => new Intl.NumberFormat(LOCALE, { maximumFractionDigits: digits }));
const percents = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 1 });
const clocks = once((date) => new Intl.DateTimeFormat(LOCALE, { ...(date ? { dateStyle: "medium" } : {}), timeStyle: "medium" }));
const unknown = (value) => value === null || value === undefined;
const number = (value, digits = 0) => (unknown(value) ? "–" : numbers(digits).format(value));
/** A share, written so that only a whole one reads 100 %, as in all reports. */
const percent = (value) => (unknown(value) ? "–" : percents.format(Math.trunc(value * 1000 + 1e-6) / 1000));
const score = (value) => number(value, 3);
const counted = (count, noun, plural = `${noun}s`) => `${number(count)} ${count === 1 ? noun : plural}`;
const numberOf = (some, all) => `${number(some)}\u00a0of\u00a0${number(all)}`;
const words = (identifier) => String(identifier).replaceAll("_", " ");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plain = (value) => (unknown(value) || value === "" ? "–" : String(value));

function duration(seconds) {
  if (unknown(seconds)) return "–";
  const all = Math.abs(seconds);
  if (all < 60) return `${number(seconds, all < 10 ? 2 : 0)}\u00a0s`;
  if (all < 3600) return `${number(Math.trunc(seconds / 60))}\u00a0min ${number(Math.floor(all % 60))}\u00a0s`;
  if (all < 172800) return `${number(Math.trunc(seconds / 3600))}\u00a0h ${number(Math.floor((all % 3600) / 60))}\u00a0min`;
  return `${number(Math.trunc(seconds / 86400))}\u00a0d ${number(Math.floor((all % 86400) / 3600))}\u00a0h`;
}

const secondsBetween = (from, to) => (from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null);
const ZONE = `times of ${new Intl.DateTimeFormat().resolvedOptions().timeZone}`;
const today = (moment) => new Date(moment).toDateString() === new Date().toDateString();

/** A moment in the reader's time zone, without the date where it is today's; hovering tells it in full. */
function time(moment) {
  if (!moment) return "–";
  const text = clocks(!today(moment)).format(new Date(moment));
  return h("time", { datetime: moment, title: moment }, text);
}

/** The time left until a moment, told anew every second by `tick`. */
const countdown = (moment) => h("span", { "data-until": moment, class: "countdown" }, left(moment));

function left(moment) {
  const seconds = Math.round((Date.parse(moment) - Date.now() - memory.clockAhead) / 1000) + 0; // no "-0 s"
  return seconds >= 0 ? `${duration(seconds)} left` : `over for ${duration(-seconds)}`;
}

function tick() {
  for (const node of document.querySelectorAll("[data-until]")) {
    const text = left(node.dataset.until);
    if (node.textContent !== text) node.textContent = text;
  }
}

/* ---------- What is remembered between two renderings ---------- */

const memory = {
  round: null, // null: the newest
  filter: "",
  branchState: "",
  dag: "",
  dags: new Set(), // that were seen, to choose from
  days: "30",
  tenant: "",
  open: new Map(), // folds and rows by key
  loaded: new Map(), // answers that were asked for on demand, by path
  view: null, // the newest
  tag: null, // which one that is, for the server
  events: [], // newest first, without gaps
  before: null, // where older events begin; null when there are none
  clockAhead: 0, // milliseconds by which the store's clock is ahead of the browser's
};

/* ---------- Airflow around us ---------- */

/** A parameter of the address; Airflow leaves `{RUN_ID}` as it is where it has none. */
function parameter(name) {
  const value = new URL(location.href).searchParams.get(name) ?? "";
  return /^\{.*\}$/.test(value) ? "" : value;
}

const DAG_ID = parameter("dag_id");
const RUN_ID = parameter("run_id");

/** Airflow's window when this page is a tab there; null when it stands alone. */
function findHost() {
  try {
    return parent !== window && parent.document.baseURI ? parent : null;
  } catch {
    return null; // another origin: it tells us nothing
  }
}

const HOST = findHost();
const hostUrl = (path) => new URL(path, HOST ? HOST.document.baseURI : new URL("../", location.href)).href;

/** Go to a page of Airflow: its frame lets no link out, so its own router is told where to go. */
function goHost(path) {
  HOST.history.pushState({}, "", hostUrl(path));
  HOST.dispatchEvent(new HOST.PopStateEvent("popstate", { state: {} }));
}

function hostLink(path, ...children) {
  const go = (event) => {
    event.preventDefault();
    goHost(path);
  };
  return h("a", { href: hostUrl(path), onclick: HOST ? go : null }, ...children);
}

const runPath = (dagId, runId) => `dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}`;
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
const pageLink = (values, ...children) => h("a", { href: `page?${query(values)}` }, ...children);

function followTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const host = HOST?.document.documentElement;
  const told = () => /(^| )(dark|light)( |$)/.exec(host?.className ?? "")?.[2];
  const apply = () => {
    root.setAttribute("data-theme", told() ?? (dark.matches ? "dark" : "light"));
    const paper = host && getComputedStyle(host).getPropertyValue("--chakra-colors-bg");
    if (paper) root.style.setProperty("--paper", paper); // so that the frame can't be seen
  };
  if (host) new MutationObserver(apply).observe(host, { attributes: true, attributeFilter: ["class"] });
  dark.addEventListener("change", apply);
  apply();
}

/* ---------- The API ---------- */

/** Everything that can be wrong with an answer, or with getting one. */
class Refused extends Error {
  constructor(path, status, detail) {
    super(typeof detail === "string" ? detail : (detail?.reason ?? `the server answered ${status}`));
    this.path = path;
    this.status = status;
    this.known = detail?.known;
  }
}

async function ask(path, headers = {}) {
  const unreachable = () => {
    throw new Refused(path, 0, "The server can't be reached just now.");
  };
  const asked = { credentials: "same-origin", headers: { Accept: "application/json", ...headers }, signal: AbortSignal.timeout(ANSWER_SECONDS * 1000) };
  return fetch(path, asked).catch(unreachable);
}

async function bodyOf(path, response) {
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Refused(path, response.status, response.ok ? "The server's answer is no JSON: a proxy may have sent a page of its own." : body?.detail);
}

const get = async (path) => bodyOf(path, await ask(path));

/** The run; the same view as before where the server says that nothing is new. */
async function look() {
  const path = runApi("run");
  const response = await ask(path, memory.tag ? { "If-None-Match": memory.tag } : {});
  if (response.status === 304) return memory.view;
  const view = await bodyOf(path, response);
  memory.tag = response.headers.get("ETag");
  return view;
}

const rightFor = (path) => (path.includes("/quarantine?") ? "runs and its tasks' logs" : "runs");

const runApi = (name, values = {}) => `api/dags/${encodeURIComponent(DAG_ID)}/${name}?${query({ run_id: RUN_ID, ...values })}`;

/** Say what went wrong, with what helps: logging in, or trying again. */
function problem(error, again) {
  const login = `../api/v2/auth/login?next=${encodeURIComponent(location.href)}`;
  if (error.status === 401) return h("p", { class: "problem" }, "You are logged out. ", h("a", { href: login }, "Log in"), " to go on.");
  return h("p", { class: "problem lines" }, toldOf(error), " ", h("button", { type: "button", onclick: again }, "Try again"));
}

function toldOf(error) {
  if (!(error instanceof Refused)) return `This page has a fault: ${error.message}`;
  if (error.status === 403) return `You may not read this: it needs the right to read the Dag's ${rightFor(error.path)}.`;
  return capital(error.message);
}

/** What is loaded when it is looked at; what was there before stays until something else is known. */
function remote(path, build, { fresh = true } = {}) {
  const box = h("div", { class: "remote" });
  const show = (data) => replaceKept(box, build(data));
  const load = async () => {
    try {
      const before = memory.loaded.get(path);
      const data = await get(path);
      memory.loaded.set(path, data);
      if (JSON.stringify(before) !== JSON.stringify(data) || !box.dataset.shown) show(data);
      box.dataset.shown = "yes";
    } catch (error) {
      delete box.dataset.shown;
      box.replaceChildren(problem(error, load));
    }
  };
  const known = memory.loaded.get(path);
  box.append(known ? build(known) : h("p", { class: "quiet" }, "Loading …"));
  if (known) box.dataset.shown = "yes";
  if (!known || fresh) load();
  return box;
}

/* ---------- Parts of which the sections are made ---------- */

const STATES = {
  running: "Running",
  published: "Published",
  published_degraded: "Published degraded",
  not_published: "Not published",
};
const TONES = {
  good: ["published", "done", "in", "arrived", "succeeded", "quality_approved", "proceed_to_data_merge", "admit_all", "accept", "publish"],
  warn: [
    "published_degraded", "late", "abandoned", "unanswered", "below_standard", "short", "left_out", "unused",
    "conditional_proceed", "needs_revision", "run_again", "leave_out_poor", "next_round",
  ],
  bad: ["not_published", "failed", "timeout_recovery", "critical_failure", "stop", "refuse"],
  run: ["running", "working", "coordinates", "going_on"],
  wait: ["waiting", "ask"],
};
const SIGNS = { good: "✓", warn: "!", bad: "✕", run: "▸", wait: "◔", idle: "·" };
const tone = (state) => Object.keys(TONES).find((name) => TONES[name].includes(state)) ?? "idle";

/** A state by sign, word and colour. */
const chip = (state, label = words(state)) =>
  h("span", { class: `chip tone-${tone(state)}` }, h("span", { "aria-hidden": "true" }, SIGNS[tone(state)]), ` ${label}`);
const runChip = (state) => chip(state, STATES[state]);

function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...children);
}

const figures = (label) => ({ label, figure: true });

/** A table; the first cell of a row is its heading. Wide and long ones scroll in their own box.
 *
 * A row is a list of cells, what `opening` returns, or cells with a `note` that stands below them; `groups` are rows
 * under a title each. Of very many rows the first `most` are shown, and `where` says where the others are.
 */
function table(caption, columns, rows, { groups = null, most = MOST_ROWS, where = "" } = {}) {
  const all = columns.map((column) => (typeof column === "string" ? { label: column } : column));
  const look = (at) => (all[at]?.figure ? "figure" : null);
  const cell = (content, at) => (at ? h("td", { class: look(at) }, content) : h("th", { scope: "row" }, content));
  const line = (row) => (Array.isArray(row) ? h("tr", {}, row.map(cell)) : row.build ? openable(row, cell) : noted(row, cell));
  const title = (it) => h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: all.length }, h("span", { class: "name" }, it.title)));
  const bodies = groups
    ? groups.map((it) => h("tbody", {}, title(it), it.rows.map(line)))
    : h("tbody", {}, rows.slice(0, most).map(line));
  const rest = (rows?.length ?? 0) - most;
  return h(
    "div",
    { class: "scroll", role: "group", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, all.map((it, at) => h("th", { scope: "col", class: look(at) }, it.label)))),
      bodies,
    ),
    rest > 0 ? h("p", { class: "quiet" }, `and ${number(rest)} more${where}`) : null,
  );
}

const noted = ({ cells, note }, cell) => [
  h("tr", { class: note ? "above" : null }, cells.map(cell)),
  note ? h("tr", { class: "note" }, h("td", { colspan: cells.length }, h("div", {}, note))) : null,
];

/** A row that has more to show below it, made when it is opened. */
const opening = (key, cells, build, open = false) => ({ key, cells, build, open });

function openable({ key, cells, build, open }, cell) {
  const more = h("td", { colspan: cells.length });
  const below = h("tr", { class: "inner" }, more);
  const show = (now) => {
    below.hidden = !now;
    if (now && !more.childElementCount) more.append(build());
  };
  const toggle = (event) => {
    const now = event.currentTarget.getAttribute("aria-expanded") !== "true";
    event.currentTarget.setAttribute("aria-expanded", String(now));
    memory.open.set(key, now);
    show(now);
  };
  const first = memory.open.get(key) ?? open;
  const button = h("button", { type: "button", class: "toggle", "data-key": key, "aria-expanded": String(first), onclick: toggle }, cells[0]);
  show(first);
  const press = (event) => event.target.closest("a, button") || String(getSelection()) || button.click(); // text can be marked
  return [h("tr", { class: "opens", onclick: press }, [button, ...cells.slice(1)].map(cell)), below];
}

const pairs = (entries, attributes = {}) =>
  h("dl", { class: "pairs", ...attributes }, entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** Something closed, whose content is made when it is opened for the first time. */
function fold(key, summary, build, openAtFirst = false) {
  const node = h("details", {}, h("summary", { "data-key": key }, summary));
  const fill = () => node.childElementCount > 1 || node.append(build());
  if (memory.open.get(key) ?? openAtFirst) {
    node.open = true;
    fill();
  }
  node.addEventListener("toggle", () => {
    memory.open.set(key, node.open);
    if (node.open) fill();
  });
  return node;
}

/** A bar from 0 to 1 with marks, and its number in words for who can't see it. */
function meter(value, label, { marks = [], kind = "run" } = {}) {
  const share = `${Math.min(1, Math.max(0, value ?? 0)) * 100}%`;
  return s(
    "svg",
    { class: `meter tone-${kind}`, role: "img", "aria-label": label },
    s("rect", { class: "track", width: "100%", height: "100%" }),
    s("rect", { class: "fill", width: share, height: "100%" }),
    marks.map((mark) => s("line", { class: "mark", x1: `${mark * 100}%`, x2: `${mark * 100}%`, y1: "0", y2: "100%" })),
  );
}

const meterWith = (value, label, text, options) => h("span", { class: "metered" }, meter(value, label, options), h("span", {}, text));

/* ---------- Decisions ---------- */

/** Some decisions have no number: the mode, and old ones that are only known from what they decided. */
function decisionId(decision) {
  if (decision.id !== null) return `decision-${decision.id}`;
  return ["decision", decision.policy, decision.round, decision.evidence?.dataset].filter(Boolean).join("-");
}

/** A figure that leads to the decision behind it; plain where none is recorded. */
function because(decision, ...children) {
  if (!decision || children[0] === "–") return children;
  const about = `${words(decision.policy)}: ${decision.meaning ?? `${decision.action} because ${decision.reason}`}`;
  return h("a", { class: "because", href: `#${encodeURIComponent(decisionId(decision))}`, title: about }, ...children);
}

const latest = (view, policy, round) =>
  everyDecision(view).findLast((one) => one.policy === policy && (round === undefined || one.round === round));

/** All decisions that the view tells, oldest first, each once. */
function everyDecision(view) {
  const found = new Map();
  const told = [view.mode, view.because, ...view.decisions, ...view.rounds.flatMap(decisionsOf)];
  for (const one of told) if (one) found.set(decisionId(one), one);
  return [...found.values()].sort((one, other) => (one.id ?? -1) - (other.id ?? -1));
}

const decisionsOf = (round) => [round.gate?.verdict, ...round.merges.map((it) => it.decision), round.quality?.decision];

/** Evidence of any shape as names and values; long lists stay closed. */
function evidence(value, key) {
  if (Array.isArray(value)) return evidenceList(value, key);
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return "none";
    return pairs(entries.map(([name, part]) => [words(name), evidence(part, `${key}/${name}`)]));
  }
  if (typeof value === "number") return number(value, 4);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return plain(value);
}

function evidenceList(values, key) {
  if (!values.length) return "none";
  const flat = values.every((it) => it === null || typeof it !== "object");
  const shown = () =>
    flat ? values.map((it) => evidence(it, key)).join("; ") : h("ol", {}, values.map((it, at) => h("li", {}, evidence(it, `${key}/${at}`))));
  const long = values.length > 12 || !flat;
  return long ? fold(key, counted(values.length, "entry", "entries"), () => h("div", {}, shown())) : shown();
}

function decisions(view) {
  const all = everyDecision(view).reverse();
  if (!all.length) return null;
  const one = (decision) =>
    h(
      "article",
      { id: decisionId(decision), class: "decision", tabindex: "-1" },
      h("h3", {}, capital(words(decision.policy)), ": ", words(decision.action)),
      pairs([
        ["Policy", h("code", {}, decision.policy)],
        ["Action", h("code", {}, decision.action)],
        ["Reason", [h("code", {}, decision.reason), decision.meaning ? ` ${decision.meaning}` : null]],
        ["Round", decision.round ? number(decision.round) : "before the rounds"],
        ["At", time(decision.at)],
      ]),
      fold(`${decisionId(decision)}/evidence`, "Evidence", () => evidence(decision.evidence, decisionId(decision))),
    );
  return section("decisions", "Decisions", h("p", { class: "quiet" }, "As recorded, newest first."), all.map(one));
}

/* ---------- Summary ---------- */

const lastRound = (view) => view.rounds.at(-1);
const chosenRound = (view) => view.rounds.find((it) => it.round === memory.round) ?? lastRound(view);
const openQuestions = (view) =>
  view.state === "running" ? view.rounds.flatMap((it) => it.questions).filter((it) => !it.answered_at) : [];
const feedsOf = (round) => (round?.branches ?? []).flatMap((branch) => branch.feeds);

/** What happened and why, in one sentence. */
function headline(view) {
  if (view.state === "running") return [phase(view)];
  const manifest = view.manifest;
  if (!manifest || view.state === "not_published") return [manifest?.why ?? "no reason is recorded"];
  const degraded = view.state === "published_degraded";
  const reason = degraded ? view.because : lastRound(view)?.gate?.verdict;
  const told = () => (reason ? [", because ", because(reason, h("code", {}, reason.reason))] : degraded ? "; some brought less than usual" : null);
  return [
    because(reason, `${number(manifest.feeds_in)} of ${number(manifest.feeds_expected)} feeds, ${percent(manifest.weight_share)} of the weight`),
    manifest.version > 1 ? `; repaired by version ${number(manifest.version)}` : told(),
  ];
}

/** How many feeds whoever triggered the run did without; gates do not count them. */
const leftOut = (view) => (view.left_out?.length ? `${number(view.left_out.length)} left out by this run's conf` : null);

/** When the run itself had published; what repairs it later does not lengthen it. */
function endOf(view) {
  const first = (view.manifest?.versions ?? []).filter((it) => it.version === 1).map((it) => it.published_at);
  return view.manifest?.version > 1 && first.length ? first.toSorted().at(-1) : view.finished_at;
}

/** What decided on the quality of the newest version, and that quality. */
function newestQuality(view) {
  const repair = view.manifest?.version > 1 ? latest(view, "reconciling") : null;
  const judged = lastRound(view)?.quality;
  return repair ? [repair, repair.evidence.overall_quality] : [judged?.decision, judged?.overall];
}

function phase(view) {
  const round = lastRound(view);
  if (!round) return "the work is analyzed and planned";
  const of = view.rounds.length > 1 ? `round ${number(round.round)}, ` : "";
  if (openQuestions(view).length) return `${of}a person is asked how to go on`;
  const gate = round.gate;
  if (gate && !gate.verdict) {
    const there = `${of}${number(gate.arrived)} of ${number(gate.expected)} feeds have arrived, ${percent(gate.progress)} of the weight`;
    return `${there}; the gate waits for the others`;
  }
  if (!round.quality && !round.merges.length) {
    const reason = h("code", {}, gate?.verdict?.reason ?? "");
    return [`${of}the gate has decided `, because(gate?.verdict, reason), "; what arrived is merged"];
  }
  if (!round.quality) return `${of}merged; the quality is checked`;
  return [`${of}the quality gate said `, because(round.quality.decision, h("code", {}, round.quality.decision?.action ?? ""))];
}

function next(view) {
  const round = lastRound(view);
  const question = openQuestions(view)[0];
  if (question) return ["An answer is waited for: see ", h("a", { href: "#questions" }, "Questions"), "."];
  if (view.state === "running") return round?.gate && !round.gate.verdict ? gateAhead(round.gate) : "The run goes on by itself; this page follows it.";
  if (view.state === "not_published") return mend(view);
  if (view.state === "published") return "Nothing: everything that was expected is in.";
  const chosen = view.left_out?.length ? "what this run's conf left out stays outside" : null;
  const absent = missing(view).some((it) => !["left_out", "short"].includes(it.state));
  if (!absent) return `Nothing: ${chosen ?? "every feed is in, some with fewer rows than usual"}.`;
  return [afterwards(view), chosen ? ` ${capital(chosen)}.` : null];
}

/** What becomes of feeds that may still come. */
function afterwards(view) {
  if (view.late === "next_run") return "What is missing is merged by the next run, if it is there by then.";
  if (view.late === "discard") return "Nothing: what is missing stays outside, as the pipeline's file says.";
  const repair = `${view.pipeline_id}__reconcile`;
  const link = hostLink(`dags/${encodeURIComponent(repair)}`, repair);
  return ["What is missing can still come in: the Dag ", link, " merges it as a new version when it is there."];
}

function mend(view) {
  const airflow = hostLink(runPath(view.dag_id, view.run_id), "the run in Airflow");
  if (!view.rounds.length) return ["Mend what is said above, then clear the tasks of ", airflow, ", or trigger a new run."];
  return ["Mend what is said above, then trigger a new run: what ", airflow, " has decided is not decided anew."];
}

function gateAhead(gate) {
  const absent = gate.required.filter((it) => !it.arrived).map((it) => it.feed);
  return [
    "The gate opens when all have arrived",
    gate.deadline_at ? [", and decides at the latest at ", time(gate.deadline_at), " (", countdown(gate.deadline_at), ")"] : null,
    `; ${percent(gate.floor)} of the weight are enough then`,
    absent.length ? `, but not without ${absent.join(", ")}` : null,
    ".",
  ];
}

/** The feeds that are not in, with why. */
function missing(view) {
  if (view.state !== "running") return view.manifest?.missing ?? [];
  const away = feedsOf(lastRound(view)).filter((it) => it.state !== "in");
  return away.map((it) => ({ feed: it.feed, state: it.state, why: it.error ?? `has not come${it.required ? ", and is required" : ""}` }));
}

function missingList(view) {
  const away = missing(view);
  if (!away.length) return null;
  const verdict = lastRound(view)?.gate?.verdict;
  const poor = latest(view, "admission") ?? latest(view, "quality_gate");
  const byConf = view.because?.policy === "conf" ? view.because : null;
  const whyMissing = (it) => ({ below_standard: poor, left_out: byConf })[it.state] ?? (it.state === "left_out" ? null : verdict);
  const line = (it) => h("li", {}, h("strong", {}, it.feed), " ", because(whyMissing(it), chip(it.state)), " ", plain(it.why));
  const title = view.state === "running" ? "Not in yet" : "What is missing";
  const some = h("ul", { class: "missing" }, away.slice(0, 10).map(line));
  const others = away.length > 10 ? fold("missing", `${number(away.length - 10)} more`, () => h("ul", { class: "missing" }, away.slice(10).map(line))) : null;
  return [h("h3", {}, `${title} (${number(away.length)})`), some, others];
}

function tiles(view) {
  const manifest = view.manifest;
  const round = lastRound(view);
  const gate = round?.gate;
  const rejected = view.quarantine.reduce((sum, it) => sum + it.rows, 0);
  const merging = round?.merges[0]?.decision;
  const inGate = gate && numberOf(gate.arrived, gate.expected);
  const inRun = !unknown(manifest?.feeds_expected) ? numberOf(manifest.feeds_in, manifest.feeds_expected) : inGate;
  const weight = manifest?.weight_share ?? gate?.progress;
  const [judged, overall] = newestQuality(view);
  const besides = leftOut(view) && h("div", { class: "aside" }, leftOut(view));
  return pairs(
    [
      inRun && ["Feeds in", [because(gate?.verdict, inRun), besides]],
      !unknown(weight) && ["Weight", because(gate?.verdict, percent(weight))],
      !unknown(manifest?.rows) && ["Rows published", because(merging, number(manifest.rows))],
      judged && ["Quality", because(judged, score(overall))],
      ["Quarantined", rejected ? h("a", { class: "because", href: "#quarantine" }, number(rejected)) : "0"],
      !unknown(view.deadline_met) && ["Deadline", because(gate?.verdict, view.deadline_met ? "met" : "missed")],
      manifest?.version > 0 && ["Version", number(manifest.version)],
      view.rounds.length > 1 && ["Rounds", because(latest(view, "rebalancing"), number(view.rounds.length))],
      view.started_at && !view.finished_at && ["Started", time(view.started_at)],
      view.finished_at && ["Took", duration(secondsBetween(view.started_at, endOf(view)))],
    ].filter(Boolean),
    { class: "tiles" },
  );
}

function summary(view) {
  const overridden = Object.keys(view.conf ?? {}).length;
  return h(
    "section",
    { id: "summary", "aria-labelledby": "summary-title", class: `summary tone-${tone(view.state)}` },
    h("h2", { id: "summary-title", class: "unseen" }, "Summary"),
    h("p", { class: "headline" }, runChip(view.state), " ", h("span", {}, headline(view))),
    tiles(view),
    missingList(view),
    h("h3", {}, "What happens next"),
    h("p", {}, next(view)),
    overridden ? fold("conf", `This run's own settings (${number(overridden)})`, () => evidence(view.conf, "conf")) : null,
  );
}

/* ---------- Questions, gate, branches, verdicts ---------- */

function questions(view) {
  const asked = view.rounds.flatMap((round) => round.questions.map((it) => ({ round: round.round, ...it })));
  if (!asked.length) return null;
  return section("questions", "Questions", asked.map((it) => question(view, it)));
}

function question(view, it) {
  const open = view.state === "running" && !it.answered_at;
  const path = `${runPath(view.dag_id, view.run_id)}/tasks/${encodeURIComponent(it.task_id)}/required_actions`;
  const about = (one) => one.round === it.round && one.evidence?.question === it.question;
  const asking = everyDecision(view).findLast((one) => one.policy === "asking" && about(one));
  const answer = everyDecision(view).findLast((one) => one.policy === "person" && about(one) && one.at === it.answered_at);
  const { offered, otherwise } = asking?.evidence ?? {};
  const label = (choice) => it.labels?.[choice] ?? words(choice);
  return h(
    "div",
    { class: `card tone-${it.answered_at ? "good" : open ? "wait" : "idle"}` },
    h("h3", {}, `Round ${number(it.round)}: how to go on after the ${words(it.question)}?`),
    pairs(
      [
        asking && ["Asked because", [because(asking, h("code", {}, asking.reason)), ", at ", time(it.asked_at)]],
        !asking && ["Asked", time(it.asked_at)],
        offered && ["Offered", `${offered.map(label).join(", ")}; without an answer: ${label(otherwise)}`],
        it.answered_at && ["Answered", [h("strong", {}, plain(it.chosen && label(it.chosen))), ", at ", time(it.answered_at)]],
        it.answered_at && ["By", [it.by ?? "nobody", answer ? [" (", because(answer, h("code", {}, answer.reason)), ")"] : null]],
        !open && !it.answered_at && ["Answered", "Not answered"],
        it.answer_by && open && ["Answer by", [time(it.answer_by), " (", countdown(it.answer_by), ")"]],
      ].filter(Boolean),
    ),
    h("p", {}, hostLink(path, open ? "Answer it in Airflow" : "The question in Airflow")),
  );
}

/** Buttons to choose the round that gate, branches, merge and quality show. */
function roundChoice(view) {
  if (view.rounds.length < 2) return null;
  const chosen = chosenRound(view).round;
  const choose = (round) => () => {
    memory.round = round;
    render(view);
  };
  const button = ({ round }) =>
    h("button", { type: "button", "data-key": `round-${round}`, "aria-pressed": String(round === chosen), onclick: choose(round) }, number(round));
  return h("div", { class: "choice", role: "group", "aria-label": "Round that is shown" }, "Round ", view.rounds.map(button));
}

const titled = (title, view) => (view.rounds.length > 1 ? `${title}, round ${number(chosenRound(view).round)}` : title);

const isAwaited = (it) => !it.verdict && it.state !== "abandoned";

function gate(view) {
  const it = chosenRound(view)?.gate;
  if (!it) return null;
  const told = `${percent(it.progress)} of the weight arrived, the floor is ${percent(it.floor)}`;
  const kind = it.verdict ? tone(it.verdict.action) : it.progress + 1e-9 >= it.floor ? "good" : "run";
  const away = `${number(it.pending)} ${it.verdict ? "late" : "pending"}`;
  const besides = leftOut(view) && `; ${leftOut(view)}`;
  return section(
    "gate",
    titled("Gate", view),
    roundChoice(view),
    h("div", { class: "gatebar" }, meter(it.progress, told, { marks: marksOf(it), kind }), marksOf(it).map(floorLabel)),
    pairs(
      [
        ["Arrived", because(it.verdict, `${percent(it.progress)}: weight ${number(it.arrived_weight, 2)} of ${number(it.expected_weight, 2)}`)],
        ["Feeds", [because(it.verdict, `${number(it.arrived)} of ${number(it.expected)} arrived, ${number(it.failed)} failed, ${away}`), besides]],
        ["Floor", because(it.verdict, percent(it.floor), it.floor_reached_at ? [", reached at ", time(it.floor_reached_at)] : ", not reached")],
        it.deadline_at && ["Deadline", [time(it.deadline_at), isAwaited(it) ? [" (", countdown(it.deadline_at), ")"] : null]],
        it.state === "abandoned" && ["Verdict", [chip("abandoned"), " the run ended before the gate decided"]],
        !unknown(it.grace_period_seconds) && ["Grace period", `${duration(it.grace_period_seconds)} after the floor`],
        it.verdict && ["Verdict", [chip(it.verdict.action), " because ", because(it.verdict, h("code", {}, it.verdict.reason)), " at ", time(it.verdict.at)]],
      ].filter(Boolean),
    ),
    isAwaited(it) ? h("p", { class: "quiet" }, "A task that Airflow gave up on counts as failed when the gate looks next.") : null,
    it.required.length ? [h("h3", {}, "Required"), requiredList(it)] : null,
    it.points.length ? [h("h3", {}, "Sync points"), syncPoints(it)] : null,
  );
}

/** Where the floor is, if it is known: verdicts of older versions don't tell. */
const marksOf = (it) => (unknown(it.floor) ? [] : [it.floor]);

/** The word under the mark; it turns to the left where there is no room on the right. */
const floorLabel = (floor) =>
  s(
    "svg",
    { class: "floorlabel", "aria-hidden": "true" },
    s("text", { x: `${floor * 100}%`, y: "12", "text-anchor": floor > 0.9 ? "end" : floor < 0.1 ? "start" : "middle" }, `▴ floor ${percent(floor)}`),
  );

const requiredList = (it) =>
  h("ul", { class: "inline" }, it.required.map((one) => h("li", {}, one.feed, " ", because(it.verdict, chip(requiredState(it, one))))));

const requiredState = (it, one) => (one.arrived ? "arrived" : isAwaited(it) ? "waiting" : "late");

function syncPoints(it) {
  const kind = (one) => (one.floor_reached_at ? "good" : "run");
  const row = (one) => [
    one.name,
    meterWith(one.progress, `${percent(one.progress)} arrived`, because(it.verdict, percent(one.progress)), { marks: marksOf(one), kind: kind(one) }),
    percent(one.floor),
    time(one.floor_reached_at),
    [time(one.deadline_at), isAwaited(it) ? [" (", countdown(one.deadline_at), ")"] : null],
    one.members.join(", "),
  ];
  return table("Sync points of the gate", ["Point", "Progress", figures("Floor"), "Reached", "Deadline", "Members"], it.points.map(row));
}

function branches(view) {
  const round = chosenRound(view);
  if (!round?.branches.length) return null;
  const list = h("div", {});
  const fill = () => replaceKept(list, branchTable(round));
  const states = [...new Set(round.branches.map((it) => it.state))].sort();
  const typed = (event) => {
    memory.filter = event.target.value;
    fill();
  };
  const filter = h("input", { type: "search", "data-key": "filter", value: memory.filter, oninput: typed });
  const state = h(
    "select",
    { "data-key": "branch-state", onchange: (event) => { memory.branchState = event.target.value; fill(); } },
    ["", ...states].map((it) => h("option", { value: it, selected: it === memory.branchState }, it ? words(it) : "all states")),
  );
  fill();
  const planned = latest(view, "allocation", round.round);
  return section(
    "branches",
    titled("Branches", view),
    h("p", { class: "quiet" }, branchCounts(round), planned ? [". Planned ", because(planned, h("code", {}, planned.reason)), "."] : "."),
    strip(round),
    h("div", { class: "filters" }, h("label", {}, "Branch, lane, feed or agent ", filter), h("label", {}, "State ", state)),
    list,
  );
}

function branchCounts(round) {
  const counts = Map.groupBy(round.branches, (it) => it.state);
  const told = [...counts].map(([state, some]) => `${number(some.length)} ${words(state)}`).join(", ");
  return `${counted(round.branches.length, "branch", "branches")} (${told}) with ${counted(feedsOf(round).length, "feed")}`;
}

/** One cell for each branch, to see at a glance where it burns; the table has the same. */
function strip(round) {
  const size = 14;
  const perLine = 60;
  const lines = Math.ceil(round.branches.length / perLine);
  const width = Math.min(perLine, round.branches.length) * size;
  const cell = (it, at) =>
    s(
      "g",
      { class: `tone-${tone(it.state)}`, transform: `translate(${(at % perLine) * size} ${Math.floor(at / perLine) * size})` },
      s("title", {}, `${it.branch_id}: ${words(it.state)}`),
      s("rect", { class: "fill", width: size - 2, height: size - 2, rx: 2 }),
      s("text", { class: "sign", x: size / 2 - 1, y: size - 4, "text-anchor": "middle" }, SIGNS[tone(it.state)]),
    );
  const height = lines * size;
  const frame = { class: "strip", role: "img", "aria-label": branchCounts(round), viewBox: `0 0 ${width} ${height}`, width, height };
  return s("svg", frame, round.branches.map(cell));
}

function matches(branch) {
  const sought = memory.filter.trim().toLowerCase();
  const texts = [branch.branch_id, branch.lane, branch.agent ?? "", ...branch.feeds.map((it) => it.feed)];
  return (!memory.branchState || branch.state === memory.branchState) && texts.some((it) => it.toLowerCase().includes(sought));
}

function branchTable(round) {
  const found = round.branches.filter(matches);
  if (!found.length) return h("p", { class: "quiet" }, "No branch is like that.");
  const columns = ["Branch", "State", figures("Rows"), figures("Duration"), figures("Weight"), "Feeds in", "Waits for", "Agent"];
  const shown = found.slice(0, MOST_ROWS);
  const groups = [...Map.groupBy(shown, (it) => it.lane)].map(([lane, some]) => ({
    title: [`Lane ${lane} `, h("span", { class: "quiet" }, `(${number(some.length)})`)],
    rows: some.map((it) => branchRow(round, it)),
  }));
  const more = found.length > shown.length ? h("p", { class: "quiet" }, `and ${number(found.length - shown.length)} more; the filter finds them`) : null;
  return h("div", {}, table("Branches by lane", columns, null, { groups }), more);
}

function branchRow(round, branch) {
  const verdict = round.gate?.verdict;
  const cells = [
    branch.branch_id,
    because(verdict, chip(branch.state)),
    because(verdict, number(branch.rows)),
    because(verdict, duration(branch.seconds)),
    because(verdict, number(branch.weight, 2)),
    because(verdict, numberOf(branch.feeds.filter((it) => it.state === "in").length, branch.feeds.length)),
    plain(branch.waiting_for.join(", ")),
    branch.agent ? h("a", { href: "#agents" }, branch.agent) : "–",
  ];
  const few = feedsOf(round).length <= MANY_FEEDS;
  return opening(`branch/${round.round}/${branch.lane}/${branch.branch_id}`, cells, () => feedTable(round, branch), few);
}

function feedTable(round, branch) {
  const judged = round.quality?.decision;
  const cells = (it) => [
    [it.feed, it.required ? h("span", { class: "tag" }, "required") : null],
    [because(round.gate?.verdict, chip(it.state)), it.in_since_version ? h("span", { class: "tag" }, `in since version ${number(it.in_since_version)}`) : null],
    because(round.gate?.verdict, number(it.weight, 2)),
    number(it.rows_in),
    number(it.rows_staged),
    it.rows_quarantined ? h("a", { class: "because", href: "#quarantine" }, number(it.rows_quarantined)) : number(it.rows_quarantined),
    number(it.usual_rows),
    duration(it.seconds),
    because(judged, score(it.quality_score)),
    [it.completeness, it.validity, it.uniqueness].map(percent).join(" / "),
    time(it.registered_at),
  ];
  const row = (it) => ({ cells: cells(it), note: it.error });
  const columns = [
    "Feed", "State", figures("Weight"), figures("Rows in"), figures("Staged"), figures("Quarantined"), figures("Usual"),
    figures("Took"), figures("Quality"), "Complete / valid / unique", "Registered", "Error",
  ];
  return table(`Feeds of ${branch.branch_id}`, columns, branch.feeds.map(row), { where: "; when the run has ended, the manifest has all" });
}

const VERDICTS = ["quorum_gate", "admission", "quality_gate", "rebalancing", "acceptance", "asking", "person"];

function verdicts(view) {
  const found = everyDecision(view).filter((it) => VERDICTS.includes(it.policy));
  if (!found.length) return null;
  const row = (it) => [`Round ${number(it.round)}`, capital(words(it.policy)), chip(it.action), because(it, h("code", {}, it.reason)), time(it.at)];
  return section("verdicts", "Verdicts", table("What was decided, oldest first", ["Round", "Who", "Verdict", "Because", "At"], found.map(row)));
}

/* ---------- Merge, quality, quarantine, rounds ---------- */

function merge(view) {
  const round = chosenRound(view);
  if (!round?.merges.length) return null;
  return section("merge", titled("Merge", view), round.merges.map((it) => merged(view, it)));
}

function merged(view, it) {
  const weights = new Map(view.rounds.flatMap(feedsOf).map((feed) => [feed.feed, feed.weight]));
  const most = Math.max(...it.sources.map((one) => one.share), 0.01);
  const source = (one) => [
    one.feed,
    because(it.decision, number(weights.get(one.feed), 2)),
    meterWith(one.share / most, `${one.feed}: ${percent(one.share)}`, because(it.decision, percent(one.share))),
    because(it.decision, number(one.published)),
    because(it.decision, number(one.superseded)),
  ];
  const sources = it.sources.toSorted((one, other) => other.share - one.share);
  const reason = it.decision ? [", because ", because(it.decision, h("code", {}, it.decision.reason))] : null;
  const manifestLink = h("a", { href: "#manifest" }, "Manifest");
  const asOf = [`As of version ${numberOf(it.version, it.versions)}: what repairs brought in stands under `, manifestLink, "."];
  return h(
    "div",
    {},
    h("h3", {}, it.dataset, " → ", h("code", {}, it.table)),
    h("p", {}, because(it.decision, counted(it.rows, "row")), " from ", counted(it.sources.length, "source"), reason),
    it.version && it.versions > it.version ? h("p", { class: "quiet" }, asOf) : null,
    table("Sources and their share", ["Source", figures("Weight"), "Attribution", figures("Published"), figures("Superseded")], sources.map(source)),
    it.disagreements.length ? disagreements(it, view.rows_shown !== false) : h("p", { class: "quiet" }, "The sources disagree about nothing that is recorded."),
  );
}

const NO_ROWS = "Rows of data are shown to who may read the logs of the Dag's tasks.";

function disagreements(it, shown) {
  const share = (one) => (one.compared ? one.differ / one.compared : 0);
  const row = (one) => [
    one.attribute,
    number(one.compared),
    because(it.decision, number(one.differ)),
    meterWith(share(one), `${one.attribute}: ${percent(share(one))} differ`, percent(share(one)), { kind: "warn" }),
    number(one.examples?.length ?? 0),
  ];
  const line = (one) => (one.examples?.length ? opening(`examples/${it.dataset}/${one.attribute}`, row(one), () => examples(one)) : row(one));
  const most = it.disagreements.toSorted((one, other) => share(other) - share(one));
  const columns = ["Attribute", figures("Compared"), figures("Differ"), "Share", figures("Examples")];
  const hint = shown ? null : h("p", { class: "quiet" }, NO_ROWS);
  return [h("h4", {}, "Where sources differ"), hint, table("Disagreements by attribute", columns, most.map(line))];
}

/** What each source said of a few keys, and what was published. */
function examples(one) {
  const said = (example) => ([feed, value]) => [feed, [plain(value), feed === example.chosen ? h("span", { class: "tag" }, "chosen") : null]];
  const key = (example) => joined(Object.entries(example.key).map(([name, value]) => [`${name} `, h("strong", {}, plain(value))]));
  const more = (example) => (example.more ? [["others", `${number(example.more)} more, of less weight`]] : []);
  const fused = (example) => (example.chosen || example.value === undefined ? [] : [["published", h("strong", {}, plain(example.value))]]);
  const line = (example) => h("li", {}, key(example), pairs([...Object.entries(example.values).map(said(example)), ...more(example), ...fused(example)]));
  return h("ul", { class: "examples" }, one.examples.map(line));
}

function quality(view) {
  const it = chosenRound(view)?.quality;
  if (!it) return null;
  const marks = [it.fail_below, it.approve_at];
  const kind = (value) => (value >= it.approve_at ? "good" : value < it.fail_below ? "bad" : "warn");
  const bar = (value, name) => meterWith(value, `${name}: ${score(value)}`, because(it.decision, score(value)), { marks, kind: kind(value) });
  const row = (one) => [one.feed, bar(one.score, one.feed), because(it.decision, one.below ? chip("below_standard") : chip("in"))];
  const rows = it.feeds.toSorted((one, other) => (one.score ?? 0) - (other.score ?? 0)).map(row);
  const overall = [h("strong", {}, "Overall"), bar(it.overall, "overall"), chip(it.decision.action)];
  const told = `Marks: fails below ${score(it.fail_below)}, approved from ${score(it.approve_at)}.`;
  return section(
    "quality",
    titled("Quality", view),
    h("p", {}, chip(it.decision.action), " because ", because(it.decision, h("code", {}, it.decision.reason)), `: overall ${score(it.overall)}. ${told}`),
    table("Scores against the thresholds", ["Feed", "Score", "Standing"], [overall, ...rows]),
  );
}

function quarantine(view) {
  if (!view.quarantine.length) return null;
  const all = view.quarantine.toSorted((one, other) => other.rows - one.rows);
  const most = all[0].rows || 1;
  const row = (it) => [
    it.feed,
    h("code", {}, it.rule),
    meterWith(it.rows / most, counted(it.rows, "row"), number(it.rows), { kind: "warn" }),
  ];
  const load = (it) => remote(runApi("quarantine", { feed: it.feed, rule: it.rule }), (data) => samples(data, it), { fresh: false });
  const seen = view.rows_shown !== false;
  const line = (it) => (seen ? opening(`samples/${it.feed}/${it.rule}`, row(it), () => load(it)) : row(it));
  const hint = h("p", { class: "quiet" }, seen ? "Open a line to see samples of its rows." : NO_ROWS);
  return section("quarantine", "Quarantine", hint, table("Quarantined rows by feed and rule", ["Feed", "Rule", "Rows"], all.map(line)));
}

function samples(data, { feed, rule }) {
  const found = data.rules.find((it) => it.feed === feed && it.rule === rule)?.samples ?? [];
  const raw = (it) => h("code", { class: "raw" }, typeof it.raw === "string" ? it.raw : JSON.stringify(it.raw));
  const row = (it) => [plain(it.origin), number(it.position), plain(it.column), plain(it.reason), raw(it)];
  const columns = ["Origin", figures("Position"), "Column", "Reason", "As it came"];
  return h(
    "div",
    {},
    data.note ? h("p", { class: "quiet" }, data.note) : null,
    found.length ? table(`Samples of ${feed}, ${rule}`, columns, found.map(row)) : h("p", { class: "quiet" }, "There are no samples to show."),
  );
}

function rounds(view) {
  if (view.rounds.length < 2) return null;
  const all = view.rounds;
  const reason = (decision) => (decision ? [chip(decision.action), " ", because(decision, h("code", {}, decision.reason))] : "–");
  const measures = [
    ["Opened", (it) => time(it.opened_at)],
    ["Took until its gate", (it) => duration(secondsBetween(it.opened_at, it.decided_at))],
    ["Branches", (it) => because(latest(view, "allocation", it.round), number(it.branches.length))],
    ["Feeds", (it) => number(feedsOf(it).length)],
    ["Gate", (it) => reason(it.gate?.verdict)],
    ["Progress", (it) => because(it.gate?.verdict, percent(it.gate?.progress))],
    ["Rows merged", (it) => because(it.merges[0]?.decision, number(it.merges.reduce((sum, one) => sum + one.rows, 0)))],
    ["Quality", (it) => because(it.quality?.decision, score(it.quality?.overall))],
    ["Quality gate", (it) => reason(it.quality?.decision)],
  ];
  const rows = measures.map(([name, tell]) => [name, ...all.map(tell)]);
  return section("rounds", "Rounds side by side", table("Rounds side by side", ["Of the round", ...all.map((it) => `Round ${number(it.round)}`)], rows));
}

/* ---------- Agents, timeline, mode, manifest ---------- */

function agents(view) {
  if (!view.agents) return null;
  const load = () => remote(runApi("agents"), (all) => h("div", {}, all.map(agentRound)));
  return section("agents", "Agents", fold("agents", "Agents, their candidates and scores", load));
}

function agentRound(round) {
  const row = (it) => [
    it.agent_id,
    it.agent_type,
    [it.lane, it.branch_id].filter(Boolean).join(" / ") || "–",
    chip(it.state),
    it.choice ? h("code", {}, it.choice.reason) : "–",
    score(it.choice?.score),
    number(it.choice?.candidates.length),
    it.work ? `${counted(it.work.records, "record")} in ${duration(it.work.seconds)}` : "–",
    targets(it),
  ];
  const columns = ["Agent", "Type", "Lane / branch", "State", "Chosen because", figures("Score"), figures("Candidates"), "Work", "Targets"];
  const line = (it) => (it.choice ? opening(`choice/${round.round}/${it.agent_id}`, row(it), () => candidates(it)) : row(it));
  const key = `order/${round.round}`;
  const order = round.order ? fold(key, ["Their order: ", h("code", {}, round.order.reason)], () => evidence(round.order.evidence, key)) : null;
  return [
    h("h3", {}, round.round ? `Round ${number(round.round)}` : "Of a queue"),
    round.failures.map((it) => h("p", { class: "problem" }, it)),
    table(`Agents of round ${round.round}`, columns, round.agents.map(line)),
    order,
  ];
}

function candidates(it) {
  const row = (one) => [
    one.agent_type, score(one.score), score(one.capability_match),
    `${percent(one.success_rate)} of ${number(one.outcomes, 1)}`, score(one.resource_efficiency), one.missing.join(", ") || "–",
  ];
  const columns = ["Type", figures("Score"), figures("Capability"), figures("Success"), figures("Efficiency"), "Lacks"];
  return table(`Candidates for ${it.agent_id}`, columns, it.choice.candidates.map(row));
}

function targets(it) {
  const entries = Object.entries(it.targets);
  if (!entries.length) return "–";
  const sign = (met) => chip(met === null ? "not measured" : met ? "done" : "failed");
  const told = ([name, met]) => h("li", {}, sign(met), ` ${words(name)}: ${number(it.measured[name], 3)}, wanted ${number(it.wanted[name], 3)}`);
  return h("ul", { class: "inline" }, entries.map(told));
}

function timeline(view) {
  const { count, more } = view.events;
  const told = more ? `more than ${number(count)} events` : counted(count, "event");
  return section(
    "timeline",
    "Timeline",
    view.chart.length ? chart(view) : null,
    view.chart.length ? fold("chart-table", "The chart as a table", () => chartTable(view)) : null,
    count ? fold("events", capital(told), events) : h("p", { class: "quiet" }, "No event is recorded."),
  );
}

/** Bars by unit over the time of the run; the deadline of each gate is a line where it is near enough to be shown. */
function chart(view) {
  const bars = view.chart;
  const from = Math.min(...bars.map((it) => Date.parse(it.from)));
  const last = Math.max(...bars.map((it) => Date.parse(it.to ?? view.now)), from + 1000);
  const all = view.rounds.map((it) => ({ round: it.round, at: Date.parse(it.gate?.deadline_at ?? "") }));
  const deadlines = all.filter((it) => it.at <= from + 2 * (last - from) && bars.some((bar) => bar.round === it.round));
  const until = Math.max(last, ...deadlines.map((it) => it.at));
  const far = (milliseconds) => (milliseconds / (until - from)) * 98; // what ends last keeps a margin
  const x = (moment) => `${far(moment - from)}%`;
  const labelled = bars.length <= MOST_LABELLED_BARS;
  const high = labelled ? 20 : 5;
  const bar = (it, at) => {
    const [start, end] = [Date.parse(it.from), Date.parse(it.to ?? view.now)];
    const told = `${unitName(it)}: ${words(it.state)}, ${duration((end - start) / 1000)}${it.to ? "" : " so far"}`;
    const width = `max(2px, ${far(end - start)}%)`;
    const place = { x: x(start), width, y: at * high + high / 8, height: high * 0.75, rx: labelled ? 3 : 1 };
    return s("g", { class: `tone-${tone(it.state)}` }, s("title", {}, told), s("rect", { class: `fill ${it.to ? "" : "going"}`, ...place }));
  };
  const height = bars.length * high;
  const axis = ticks((until - from) / 1000).map((seconds) => axisMark(seconds, far(seconds * 1000), height));
  const line = (it) => deadlineLine(it, bars, high, far(it.at - from));
  const label = `Timeline of ${counted(bars.length, "unit")} over ${duration((until - from) / 1000)}`;
  const frame = { role: "img", "aria-label": label, width: "100%", height: height + 20 };
  const plot = s("svg", frame, axis, bars.map(bar), deadlines.map(line));
  for (const rect of plot.querySelectorAll(".fill")) rect.style.setProperty("width", rect.getAttribute("width")); // `max()` is CSS
  const name = (it) => h("li", { title: it.label }, view.rounds.length > 1 && it.round ? `${it.round} · ` : "", unitName(it));
  const labels = h("ol", { class: "labels", "aria-hidden": "true" }, bars.map(name));
  const thin = { class: "chart thin", tabindex: "0", role: "group", "aria-label": "Chart" };
  return h(
    "div",
    {},
    labelled ? h("div", { class: "chart" }, labels, plot) : h("div", thin, plot),
    deadlines.length ? h("p", { class: "quiet" }, h("span", { class: "deadline-sign", "aria-hidden": "true" }), ` deadline of the gate`) : null,
  );
}

/** The deadline of a round's gate, along the bars of that round. */
function deadlineLine({ round }, bars, high, far) {
  const own = bars.flatMap((it, index) => (it.round === round ? [index] : []));
  const [y1, y2] = [own[0] * high, (own.at(-1) + 1) * high];
  const label = { class: "axis deadline-name", y: y1 + 12, ...beside(far, 70) };
  const x = `${far}%`;
  return s("g", {}, s("line", { class: "deadline", x1: x, x2: x, y1, y2 }), s("text", label, `deadline of round ${number(round)}`));
}

/** Where a text stands beside a line, that is so many percent `far`: on its left where there is no room on the right. */
const beside = (far, most) => ({ x: `${far}%`, ...(far > most ? { dx: -4, "text-anchor": "end" } : { dx: 4 }) });

function axisMark(seconds, far, height) {
  const x = `${far}%`;
  const label = { class: "axis", y: height + 14, ...beside(far, 90) };
  return [s("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height }), s("text", label, `+${inRound(seconds)}`)];
}

const DAY = 86400;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY];

/** Seconds at which an axis has its marks: at most seven, and round. */
function ticks(seconds) {
  const step = STEPS.find((it) => seconds / it <= 6) ?? Math.ceil(seconds / 6 / DAY) * DAY;
  return Array.from({ length: Math.floor(seconds / step) + 1 }, (_, at) => at * step);
}

/** A round duration without the part that is nothing. */
const inRound = (seconds) => (seconds ? duration(seconds).replace(/ 0\u00a0(s|min|h)$/, "") : "0\u00a0s");

/** A merge is called by its dataset and a question by what it is about; steps and feeds by their own names. */
const unitName = (it) => (["merge", "question"].includes(it.kind) ? `${it.kind} ${words(it.label)}` : it.label);

function chartTable(view) {
  const took = (it) => duration(secondsBetween(it.from, it.to ?? view.now));
  const row = (it) => [unitName(it), words(it.kind), it.round ? number(it.round) : "–", chip(it.state), time(it.from), time(it.to), took(it)];
  return table("Timeline of the units", ["Unit", "Kind", figures("Round"), "State", "From", "To", figures("Took")], view.chart.map(row));
}

/** The newest page of events, and with each click 200 older ones; what was loaded is kept while the run goes on. */
function events() {
  const box = h("div", {});
  const show = () => replaceKept(box, eventTable(more));
  const more = async (before) => {
    try {
      const page = await get(runApi("timeline", { before }));
      if (!before || before === memory.before) keepEvents(page, before);
      show();
    } catch (error) {
      box.append(problem(error, () => more(before)));
    }
  };
  if (memory.events.length) show();
  more();
  return box;
}

/** Add a page to the events. More may have come since the last look than a page holds: then what is older is let go. */
function keepEvents(page, before) {
  const known = new Set(memory.events.map((it) => it.id));
  const follows = before || page.events.some((it) => known.has(it.id));
  const kept = follows ? memory.events : [];
  memory.events = [...kept, ...page.events.filter((it) => !known.has(it.id))].sort((one, other) => other.id - one.id);
  if (before || !follows) memory.before = page.before;
}

function eventTable(more) {
  const row = (it) => [time(it.at), it.round ? number(it.round) : "–", it.unit, h("code", {}, it.event), it.text];
  const older = () => h("button", { type: "button", "data-key": "older", onclick: () => more(memory.before) }, "Older");
  const columns = ["At", figures("Round"), "Unit", "Event", "What happened"];
  return h(
    "div",
    {},
    table("Events, newest first", columns, memory.events.map(row), { most: Infinity }),
    memory.before ? older() : h("p", { class: "quiet" }, "This is the beginning."),
  );
}

function mode(view) {
  const decision = view.mode;
  if (!decision) return null;
  const known = decision.evidence ?? {};
  const { complexity, data_dependency: dependency } = known;
  const scores = [
    ["Complexity of the work", complexity?.score],
    ["– of its volume", complexity?.volume],
    ["– of its schema", complexity?.schema],
    ["– of its rules", complexity?.work],
    ["Dependency of the data", dependency?.score],
    ["– edges between the batches", dependency?.edge_density],
    ["CPUs that were free", known.cpu_available],
  ].filter(([, value]) => typeof value === "number");
  const rows = scores.map(([name, value]) => [name, meterWith(value, `${name}: ${score(value)}`, because(decision, score(value)))]);
  const most = known.max_branches ? `: at most ${number(known.max_branches)} branches` : "";
  return section(
    "mode",
    "Mode",
    h("p", {}, h("strong", {}, words(decision.action)), ", because ", because(decision, h("code", {}, decision.reason)), most),
    rows.length ? table("Scores behind the mode", ["Score", "0 to 1"], rows) : null,
  );
}

function manifest(view) {
  const it = view.manifest;
  if (!it) return null;
  const verdict = lastRound(view)?.gate?.verdict;
  const judged = lastRound(view)?.quality?.decision;
  const where = "; all of them are below, as JSON";
  const row = (feed) => [
    feed.feed, because(verdict, chip(feed.state)), because(verdict, number(feed.weight, 2)), number(feed.rows_in), number(feed.rows_published),
    number(feed.rows_superseded), number(feed.rows_quarantined), because(judged, score(feed.quality_score)), plain(feed.why),
  ];
  const columns = ["Feed", "State", ...["Weight", "Rows in", "Published", "Superseded", "Quarantined", "Quality"].map(figures), "Why"];
  return section(
    "manifest",
    "Manifest",
    it.feeds?.length ? table("Feeds in the manifest", columns, it.feeds.map(row), { where }) : h("p", { class: "lines" }, plain(it.why)),
    it.versions?.length ? [h("h3", {}, "Versions"), versions(it.versions)] : null,
    fold("manifest-json", "As JSON", () => asJson(view)),
  );
}

function versions(all) {
  const row = (one) => [
    one.dataset, number(one.version), time(one.published_at), (one.feeds ?? []).join(", ") || "–",
    number(one.rows_added), number(one.rows_changed), number(one.rows_withdrawn),
  ];
  const columns = ["Dataset", figures("Version"), "Published", "Brought in", ...["Added", "Changed", "Withdrawn"].map(figures)];
  return table("Versions that were published", columns, all.map(row));
}

function asJson(view) {
  const text = JSON.stringify(view.manifest, null, 2);
  const shown = h("pre", { tabindex: "0", "aria-label": "The manifest as JSON" }, text);
  const said = h("span", { role: "status" });
  const copy = async () => {
    getSelection().selectAllChildren(shown); // for browsers that keep the clipboard from us
    said.textContent = await navigator.clipboard?.writeText(text).then(() => "Copied.", () => null) ?? "Selected: press Ctrl+C.";
  };
  const download = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href: address, download: `manifest ${view.dag_id} ${view.run_id}.json`.replace(/[^\w. -]/g, "_") }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };
  const buttons = [h("button", { type: "button", onclick: copy }, "Copy"), " ", h("button", { type: "button", onclick: download }, "Download"), " ", said];
  return h("div", {}, h("p", {}, buttons), shown);
}

/* ---------- All runs ---------- */

/** Bars of one value per run, oldest first; a click leads to the run, as the table's links do. */
function series(label, runs, value, kind, tell = (run) => (value(run) === null ? "not known" : percent(value(run)))) {
  const text = runs.length ? `${label} of ${counted(runs.length, "run")}, last: ${tell(runs.at(-1))}` : `${label}: not known`;
  const width = 100 / Math.max(runs.length, 12);
  const bar = (run, at) => {
    const it = value(run);
    const place = { x: `${at * width}%`, width: `${width * 0.8}%` };
    const address = `page?${query({ dag_id: run.dag_id, run_id: run.run_id })}`;
    const open = () => (HOST ? goHost(`${runPath(run.dag_id, run.run_id)}/plugin/${ROUTE}`) : location.assign(address));
    return s(
      "g",
      { class: `tone-${it === null ? "idle" : kind(it, run)}`, onclick: run.dag_id ? open : null },
      s("title", {}, `${run.run_id}: ${tell(run)}`),
      s("rect", { class: "hit", ...place, y: 0, height: "100%" }),
      s("rect", { class: "fill", ...place, y: `${100 - Math.max(it ?? 0, 0.06) * 100}%`, height: `${Math.max(it ?? 0, 0.06) * 100}%` }),
    );
  };
  return h("div", { class: "multiple" }, h("span", { class: "quiet" }, label), s("svg", { class: "series", role: "img", "aria-label": text }, runs.map(bar)));
}



function runLink(run) {
  if (HOST) return hostLink(`${runPath(run.dag_id, run.run_id)}/plugin/${ROUTE}`, run.run_id);
  return pageLink({ dag_id: run.dag_id, run_id: run.run_id }, run.run_id);
}

function runsOverTime(data) {
  const dags = [...new Set(data.runs.map((it) => it.dag_id))].sort();
  if (!data.runs.length) return h("p", {}, "No run in this time. A pipeline's run appears here as soon as its first task begins.");
  const row = (it) => [
    runLink(it), it.dag_id, runChip(it.state), time(it.started_at), duration(secondsBetween(it.started_at, it.finished_at)),
    it.deadline_met === null ? "–" : it.deadline_met ? chip("done", "met") : chip("late", "missed"),
    it.feeds_expected === null ? "–" : numberOf(it.feeds_in, it.feeds_expected),
    percent(it.weight_share), score(it.quality), number(it.rounds), number(it.version),
  ];
  const columns = ["Run", "Dag", "State", "Started", figures("Took"), "Deadline", ...["Feeds in", "Weight", "Quality", "Rounds", "Version"].map(figures)];
  const multiples = (dag) => {
    const runs = data.runs.filter((it) => it.dag_id === dag).slice(0, 60).reverse();
    return h("div", { class: "card" }, h("h3", {}, dag), h("div", { class: "multiples" },
      series("Deadline met", runs, (it) => (it.deadline_met === null ? null : Number(it.deadline_met)), (it) => (it ? "good" : "bad")),
      series("Completeness", runs, (it) => it.weight_share, (_, run) => tone(run.state)),
      series("Quality", runs, (it) => it.quality, () => "run")));
  };
  const more = data.more ? h("p", { class: "quiet" }, `These are the newest ${number(data.runs.length)}; choose fewer days or one Dag to see others.`) : null;
  return h("div", {}, dags.map(multiples), table("Runs, newest first", columns, data.runs.map(row), { most: Infinity }), more);
}

const NOT_THERE = ["late", "failed"];
const NOT_MERGED = ["unused", "below_standard"];
/** Pipelines without `trust` have none of it to show. */
const isTrusted = (feed) => feed.runs.some((run) => !unknown(run.trust));

function feedsOverTime(data) {
  if (!data.feeds.length) return h("p", {}, "No feed of this Dag is known yet.");
  const trusted = data.feeds.some(isTrusted);
  const latest = Math.max(1, ...data.feeds.flatMap((it) => it.runs.map((run) => run.arrived_after_seconds ?? 0)));
  const lateness = (_, run) => (tone(run.state) === "good" ? "wait" : tone(run.state));
  // seconds and hours in one picture; who never came stands highest
  const arrival = (run) => (run.arrived_after_seconds === null ? 1 : Math.log1p(run.arrived_after_seconds) / Math.log1p(latest));
  const learned = data.feeds.some((it) => it.runs.some((run) => run.trust !== null)); // not every pipeline does
  const row = (it) => {
    const last = it.runs.at(-1);
    const those = (states) => it.runs.filter((run) => states.includes(run.state)).length;
    return [
      it.feed,
      last ? chip(last.state) : "–",
      numberOf(those(NOT_THERE), it.runs.length),
      numberOf(those(NOT_MERGED), it.runs.length),
      series("Arrival", it.runs, arrival, lateness, (run) => `${words(run.state)} after ${duration(run.arrived_after_seconds)}`),
      learned ? series("Trust", it.runs, (run) => run.trust, () => "run") : null,
      series("Quality", it.runs, (run) => run.quality_score, () => "good"),
    ].filter((cell) => cell !== null);
  };
  const line = (it) => opening(`feed/${data.dag_id}/${it.feed}`, row(it), () => feedRuns(data.dag_id, it));
  const scale = `Arrival grows logarithmically up to ${duration(latest)} after the round began`;
  const told = `Bars are runs, oldest first. ${scale}; who did not come in time stands out.`;
  const columns = ["Feed", "Last", figures("Did not come"), figures("Came, not merged"), "Arrival", learned && "Trust", "Quality"].filter(Boolean);
  const first = `These are the first ${number(data.feeds.length)}, those most often missing; the others were missing no more often.`;
  const more = data.more ? h("p", { class: "quiet" }, first) : null;
  return h("div", {}, h("p", { class: "quiet" }, told), table("Feeds over the last runs", columns, data.feeds.map(line), { most: Infinity }), more);
}

function feedRuns(dagId, feed) {
  const trusted = isTrusted(feed);
  const against = (seconds) => (seconds > 0 ? `${duration(seconds)} late` : `${duration(-seconds)} before`);
  const row = (it) => [
    runLink({ dag_id: dagId, run_id: it.run_id }), chip(it.state), duration(it.arrived_after_seconds),
    it.late_by_seconds === null ? "–" : against(it.late_by_seconds), number(it.rows), score(it.quality_score), score(it.trust),
  ];
  const columns = ["Run", "State", figures("Arrived after"), "Against the gate's decision", ...["Rows", "Quality", "Trust"].map(figures)];
  return table(`Runs of ${feed.feed}`, columns, feed.runs.map(row).reverse());
}

function leaderboard(data) {
  if (!data.standings.length) return h("p", {}, `No agent has worked ${data.tenant ? `for tenant ${data.tenant}` : "without a tenant"} yet.`);
  const row = (it) => [
    it.agent_type,
    it.kind,
    meterWith(it.success_rate, `${it.agent_type}: ${percent(it.success_rate)}`, percent(it.success_rate)),
    number(it.outcomes, 1),
    number(it.days),
    duration(it.execution_seconds),
    it.throughput === null ? "–" : `${number(it.throughput)} / s`,
    score(it.data_quality_score),
    it.peak_memory_mb === null ? "–" : `${number(it.peak_memory_mb)} MB`,
  ];
  const columns = ["Type", "Kind of work", "Success", ...["Outcomes", "Days", "Took", "Throughput", "Quality", "Memory"].map(figures)];
  return table("Agents by kind of work, the most reliable first", columns, data.standings.map(row));
}

/** Runs, feeds and agents over time; the choices stand above what they choose. */
function browse() {
  const body = h("div", {});
  const again = () => {
    const path = `api/runs?${query({ days: memory.days, dag_id: memory.dag })}`;
    replaceKept(body, h("div", {}, remote(path, (data) => runsAndFeeds(data, again)), leaderboardPart(again)));
  };
  again();
  return body;
}

function select(key, options, chosen, choose) {
  const changed = (event) => choose(event.target.value);
  return h("select", { "data-key": key, onchange: changed }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}

function runsAndFeeds(data, again) {
  for (const run of data.runs) memory.dags.add(run.dag_id);
  const chooser = (name) => (value) => {
    memory[name] = value;
    again();
  };
  const dags = [...new Set([...memory.dags, memory.dag].filter(Boolean))].sort();
  const dag = select("dag", [["", "all"], ...dags.map((it) => [it, it])], memory.dag, chooser("dag"));
  const days = select("days", ["1", "7", "30", "90"].map((it) => [it, counted(Number(it), "day")]), memory.days, chooser("days"));
  const feeds = memory.dag || (dags.length === 1 ? dags[0] : "");
  const path = `api/dags/${encodeURIComponent(feeds)}/feeds`;
  const choose = h("p", { class: "quiet" }, "Choose a Dag above to see when its feeds arrive, and how far each is trusted.");
  return h(
    "div",
    {},
    h("div", { class: "filters" }, h("label", {}, "Dag ", dag), h("label", {}, "The last ", days)),
    section("runs", "Runs over time", runsOverTime(data)),
    section("feeds", feeds ? `Feeds of ${feeds} over time` : "Feeds over time", feeds ? remote(path, feedsOverTime) : choose),
  );
}

function leaderboardPart(again) {
  const input = h("input", { type: "text", "data-key": "tenant", value: memory.tenant, placeholder: "no tenant" });
  const form = (event) => {
    event.preventDefault();
    memory.tenant = input.value.trim();
    again();
  };
  const path = `api/leaderboard?tenant=${encodeURIComponent(memory.tenant)}`;
  const asking = h("form", { class: "filters", onsubmit: form }, h("label", {}, "Tenant ", input), h("button", { type: "submit" }, "Show"));
  return section("leaderboard", "Agents' leaderboard", asking, remote(path, leaderboard));
}

/* ---------- The page ---------- */

/** Replace what a box shows, but leave the reader where they are: focus, cursor and the place in each table. */
function replaceKept(box, ...nodes) {
  const focusable = () => [...box.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];
  const active = box.contains(document.activeElement) ? document.activeElement : null;
  const at = active ? focusable().indexOf(active) : -1;
  const key = active?.dataset.key;
  const cursor = active?.selectionStart;
  const boxes = () => [...box.querySelectorAll(".scroll, .thin, pre")];
  const scrolled = boxes().map((it) => ({ left: it.scrollLeft, top: it.scrollTop, behavior: "instant" }));
  const top = scrollY;
  box.replaceChildren(...nodes);
  boxes().forEach((it, index) => it.scrollTo(scrolled[index] ?? {}));
  const successor = active && ((key && box.querySelector(`[data-key="${CSS.escape(key)}"]`)) || focusable()[at]);
  successor?.focus({ preventScroll: true });
  if (typeof cursor === "number") successor?.setSelectionRange?.(cursor, cursor);
  if (scrollY !== top) scrollTo({ top, behavior: "instant" });
}

const whole = ({ now, chart, events, ...rest }) => rest;
const roundsOf = (view) => [view.rounds, view.decisions, view.mode, view.because];
/** Each section with the part of the view that it shows: it is made anew when that part has changed. */
const SECTIONS = [
  ["summary", "Summary", summary, whole],
  ["questions", "Questions", questions, (view) => [view.rounds.map((it) => it.questions), view.decisions, view.state]],
  ["gate", "Gate", gate, (view) => view.rounds.map((it) => it.gate)],
  ["branches", "Branches", branches, roundsOf],
  ["verdicts", "Verdicts", verdicts, roundsOf],
  ["merge", "Merge", merge, (view) => view.rounds.map((it) => [it.merges, it.branches])],
  ["quality", "Quality", quality, (view) => view.rounds.map((it) => it.quality)],
  ["quarantine", "Quarantine", quarantine, (view) => [view.quarantine, view.rows_shown]],
  ["rounds", "Rounds", rounds, roundsOf],
  ["agents", "Agents", agents, (view) => [view.agents, view.state, view.agents && view.events]],
  ["timeline", "Timeline", timeline, (view) => [view.chart, view.events, view.state === "running" && view.now]],
  ["mode", "Mode", mode, (view) => view.mode],
  ["manifest", "Manifest", manifest, (view) => view.manifest],
  ["decisions", "Decisions", decisions, roundsOf],
];
const drawn = new Map(); // section by name: its box, and the JSON that it shows

function render(view) {
  const main = document.getElementById("main");
  if (!drawn.size) main.replaceChildren();
  for (const [name, , build, part] of SECTIONS) {
    const shown = drawn.get(name) ?? { box: h("div", {}), json: null };
    if (!drawn.has(name)) main.append(shown.box);
    const json = JSON.stringify([part(view), memory.round]);
    if (json !== shown.json) replaceKept(shown.box, ...[build(view)].filter(Boolean));
    drawn.set(name, { box: shown.box, json });
  }
  mark();
  const there = SECTIONS.filter(([name]) => document.getElementById(name));
  contents(there.map(([name, title]) => [name, title]));
  announce(STATES[view.state] ?? words(view.state), document.querySelector(".headline > span:last-child")?.textContent);
}

function contents(entries) {
  const nav = document.getElementById("contents");
  if (nav.dataset.shown === entries.join()) return;
  nav.dataset.shown = entries.join();
  if (!entries.length) return nav.replaceChildren();
  return replaceKept(nav, h("ul", {}, entries.map(([name, title]) => h("li", {}, h("a", { href: `#${name}` }, title)))));
}

/** Tell a screen reader, and the window's title, when the state has changed; nothing is said twice. */
function announce(state, text) {
  const status = document.getElementById("status");
  const told = `${state}: ${text}`;
  if (status.textContent !== told) status.textContent = told;
  document.title = [state, RUN_ID && DAG_ID, "Orchestration"].filter(Boolean).join(" · ");
}

function notice(...nodes) {
  document.getElementById("notice").replaceChildren(...nodes);
}

const allRuns = (text) => (HOST ? hostLink(`plugin/${RUNS_ROUTE}`, text) : h("a", { href: "page" }, text));

function head() {
  const about = "What came of the runs, when feeds arrive, and which agents are good at what.";
  const all = allRuns("All runs");
  const of = RUN_ID
    ? [h("h1", {}, DAG_ID), h("p", { class: "quiet" }, RUN_ID, " · ", hostLink(runPath(DAG_ID, RUN_ID), "run in Airflow"), " · ", all, " · ", ZONE)]
    : [h("h1", {}, "Orchestration"), h("p", { class: "quiet" }, `${about} ${capital(ZONE)}.`)];
  document.getElementById("head").replaceChildren(...of);
}

/** The page of a run that the store doesn't know. */
function stranger(error) {
  const soon = "its run appears here by itself: as soon as the first task has looked at its feeds, or has refused it.";
  const followed = "This tab follows the runs of orchestration pipelines: which feeds came, when the gate decided and why, where each row went.";
  drawn.clear();
  contents([]);
  document.getElementById("main").replaceChildren(
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Nothing to show for this run"),
      h("p", {}, capital(error.message), error.message.endsWith(".") ? "" : "."),
      h("p", {}, `${followed} The runs of other Dags have nothing to tell here: see `, allRuns("all runs that have"), "."),
      h("p", {}, `When this is a pipeline that has just been triggered, ${soon}`),
    ),
  );
  announce("Not known", "Nothing to show for this run");
}

let timer = null;
let failures = 0;

function wait(seconds) {
  clearTimeout(timer);
  timer = document.hidden ? null : setTimeout(poll, seconds * 1000);
}

async function poll() {
  clearTimeout(timer);
  try {
    const view = await look();
    failures = 0;
    if (view !== memory.view) memory.clockAhead = Date.parse(view.now) - Date.now();
    const first = !drawn.size;
    if (first || view !== memory.view) render(view);
    memory.view = view;
    if (first) reveal();
    tell(view);
    if (view.state === "running") wait(isSilent(view) ? SILENT_POLL_SECONDS : POLL_SECONDS);
  } catch (error) {
    missed(error);
  }
}

/** The last moment of which a run tells anything, or for which it waits. */
function lastSign(view) {
  const round = lastRound(view);
  const marks = view.chart.flatMap((it) => [it.from, it.to]);
  const awaited = [round?.opened_at, round?.gate?.deadline_at, ...openQuestions(view).map((it) => it.answer_by)];
  return [view.started_at, view.decisions[0]?.at, ...awaited, ...marks].filter(Boolean).reduce((one, other) => (one > other ? one : other), "");
}

/** Whether a run that has not ended has told nothing for long: Airflow stops tasks that can't say so any more. */
function isSilent(view) {
  const now = Date.now() + memory.clockAhead;
  return view.state === "running" && now - Date.parse(lastSign(view)) > SILENT_MINUTES * 60_000;
}

/** Tell what stands above all sections. */
function tell(view) {
  const silent = () => [
    "Nothing has been recorded since ", time(lastSign(view)), ". If nothing works on it any more, it was stopped, and does not end by itself: see ",
    hostLink(runPath(view.dag_id, view.run_id), "the run in Airflow"), ".",
  ];
  const gone = pointedAt().startsWith("decision-") && !document.getElementById(pointedAt());
  const older = `This decision is not among those that are shown: the newest ${number(view.decisions.length)}, and what each round came to.`;
  const told = [isSilent(view) && silent(), gone && [older, " Type ", h("code", {}, "airflow orchestration explain"), " to see more."]];
  notice(...told.filter(Boolean).map((it) => h("p", { class: "problem" }, it)));
}

/** What may change by itself is asked for again, ever more slowly; what was shown stays. */
function missed(error) {
  memory.tag = null; // whatever comes next is to be shown, also what was sent before
  if (!(error instanceof Refused)) console.error(error);
  if (error.known === false) {
    stranger(error);
    return wait(UNKNOWN_POLL_SECONDS);
  }
  failures += 1;
  notice(problem(error, poll));
  if (!drawn.size) document.getElementById("main").replaceChildren();
  return wait(Math.min(LONGEST_WAIT_SECONDS, POLL_SECONDS * 2 ** failures));
}

/** The id of what the address points at; empty where it points at nothing. */
function pointedAt() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // somebody's own `%`
  }
}

/** Mark what the address points at, also after it was made anew. */
function mark() {
  const target = document.getElementById(pointedAt());
  for (const node of document.querySelectorAll(".target")) node.classList.toggle("target", node === target);
  target?.classList.add("target");
  return target;
}

/** Go to what the address points at, and open it. */
function reveal() {
  const target = mark();
  if (!target) return;
  if (target.id.startsWith("decision-")) target.querySelector("details")?.setAttribute("open", "");
  target.scrollIntoView({ block: "start" });
  if (target.hasAttribute("tabindex")) target.focus({ preventScroll: true });
}

function start() {
  followTheme();
  head();
  addEventListener("hashchange", () => {
    reveal();
    if (memory.view) tell(memory.view);
  });
  if (!RUN_ID || !DAG_ID) {
    memory.dag = DAG_ID;
    document.getElementById("main").replaceChildren(browse());
    contents([["runs", "Runs"], ["feeds", "Feeds"], ["leaderboard", "Leaderboard"]]);
    return;
  }
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
  poll();
}

start();
