// A packed model in a web page: model.onnx and tokenizer.json lie beside it, the libraries in vendor/ (copy.mjs).

const PAUSE_MS = 120; // of typing, before a text is classified
const LONG_PAUSE_MS = 600; // after it, before the whole model runs and a screen reader speaks
const CLASSES_SHOWN = 5;

const beside = (path) => new URL(path, import.meta.url).href;
const element = (id) => document.getElementById(id);
/** A new element with these properties and children. */
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const milliseconds = (time) => `${time.toFixed(time < 10 ? 1 : 0)}\u00a0ms`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)}\u00a0MB`;

let ort, packed, metadata, tokenizer, session;
let last; // the answer shown
let timer;

/**
 * Classify a text.
 *
 * @param {string} text
 * @param {number} speed from 0 (all layers) to 1
 * @returns {Promise<object>} logits, uncertainty, layer (of the exit, from 0), ms (from text to logits), tokens,
 *   truncated
 */
export async function classify(text, speed) {
  const start = performance.now();
  const { ids, types, truncated } = packed.encode(tokenizer, text, metadata);
  const shape = [1, ids.length];
  const { logits, uncertainty, exit_layer } = await session.run({
    input_ids: new ort.Tensor("int64", ids, shape),
    token_type_ids: new ort.Tensor("int64", types, shape),
    speed: new ort.Tensor("float32", [speed], [1]),
  });
  return {
    ms: performance.now() - start,
    logits: Array.from(logits.data),
    uncertainty: uncertainty.data[0],
    layer: Number(exit_layer.data[0]),
    tokens: ids.length,
    truncated,
  };
}

/** Load the libraries, the tokenizer and the model; show each step, and in words what fails. */
async function load() {
  if (typeof WebAssembly === "undefined") throw new Error("This browser has no WebAssembly, which runs the model.");
  let Tokenizer;
  try {
    [ort, { Tokenizer }, packed] = await Promise.all(
      ["ort.wasm.min.mjs", "tokenizers.min.mjs", "packed.mjs"].map((name) => import(beside(`vendor/${name}`))),
    );
  } catch (error) {
    throw problem(`A library is missing (${error.message}). In the page's folder, run:`, "npm ci && npm run copy");
  }
  ort.env.wasm.wasmPaths = beside("vendor/");
  ort.env.wasm.numThreads = 1; // more need a server that isolates the page from other origins
  const file = await download("model.onnx", "fastbert pack bundle --output model.onnx");
  const size = file.length;
  metadata = packed.readMetadata(file);
  const json = await download("tokenizer.json", "cp bundle/tokenizer.json .");
  tokenizer = new Tokenizer(await packed.readTokenizer(json, metadata), {});
  showStatus("Preparing the model…");
  session = await ort.InferenceSession.create(file, packed.sessionOptions);
  for (const speed of [1, 0, 0]) await classify("a ".repeat(16), speed); // the first runs are slower
  return size;
}

/** Fetch a file that lies beside the page, and show how much has arrived. */
async function download(name, command) {
  const response = await fetch(beside(name));
  if (!response.ok) throw problem(`${name} is not beside this page (${response.status}). Put it there:`, command);
  const total = Number(response.headers.get("content-length"));
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    const of = total >= size ? ` of ${megabytes(total)}` : "";
    showStatus(`Loading ${name}: ${megabytes(size)}${of}`, total >= size ? size / total : undefined);
  }
  const whole = new Uint8Array(size);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

function showStatus(message, share) {
  const [paragraph, progress] = element("status").children;
  paragraph.textContent = message;
  progress.hidden = false;
  if (share === undefined) progress.removeAttribute("value");
  else progress.value = share;
}

/** An error that a command mends. */
const problem = (message, command) => Object.assign(new Error(message), { command });

function showFailure({ message, command }) {
  const status = element("status");
  status.className = "failed";
  status.setAttribute("role", "alert");
  status.hidden = false;
  status.replaceChildren(make("p", { textContent: message }));
  if (command) status.append(make("code", { textContent: command }));
}

function showModel(size) {
  const { layers, exits, labels, variant, default_speed } = metadata;
  const places =
    exits.length === layers ? "an exit after each" : `exits after ${exits.map((exit) => exit + 1).join(", ")}`;
  element("model").textContent =
    `${layers} layers, ${places}; ${labels.length} classes; ${variant}, ${megabytes(size)}; one thread of WebAssembly`;
  element("layers").replaceChildren(
    ...Array.from({ length: layers }, (_, layer) => make("li", { className: exits.includes(layer) ? "has-exit" : "" })),
  );
  element("layers").classList.toggle("many", layers > 12);
  element("speed").value = default_speed;
  element("status").hidden = true;
  document.forms[0].hidden = false;
  showSpeed();
  element("text").focus();
}

function showSpeed() {
  element("speed-shown").textContent = Number(element("speed").value).toFixed(2);
}

/** Classify what is typed, soon; then, if typing rests, run all layers to compare. */
function schedule() {
  clearTimeout(timer);
  element("answer").setAttribute("aria-busy", "true");
  timer = setTimeout(() => answer().catch(showFailure), PAUSE_MS);
}

async function answer() {
  const asked = question();
  element("answer").hidden = asked.text.trim() === "";
  if (element("answer").hidden) return element("answer").setAttribute("aria-busy", "false");
  const found = await classify(asked.text, asked.speed);
  if (!isCurrent(asked)) return;
  show({ ...asked, ...found, probabilities: packed.softmax(found.logits) });
  timer = setTimeout(() => compare(last).catch(showFailure), LONG_PAUSE_MS);
}

const question = () => ({ text: element("text").value, speed: Number(element("speed").value) });

/** Whether nothing was typed or moved since a question was asked. */
const isCurrent = ({ text, speed }) => text === question().text && speed === question().speed;

function show(found) {
  last = found;
  found.best = found.logits.indexOf(Math.max(...found.logits));
  found.label = metadata.labels[found.best];
  element("label").textContent = found.label;
  element("probability").textContent = percent(found.probabilities[found.best]);
  const cut = found.truncated ? `; the text was cut to ${found.tokens} tokens` : "";
  element("summary").textContent =
    `Answered after layer ${found.layer + 1} of ${metadata.layers}, in ${milliseconds(found.ms)}${cut}.`;
  element("whole").textContent = "";
  [...element("layers").children].forEach((cell, layer) => {
    const state = layer < found.layer ? "ran" : layer === found.layer ? "exit" : "skipped";
    cell.classList.remove("ran", "exit", "skipped");
    cell.classList.add(state);
    cell.textContent = layer + 1;
    cell.setAttribute("aria-label", `Layer ${layer + 1}: ${state === "exit" ? "answered" : state}`);
  });
  showClasses(found);
}

function showClasses({ probabilities, best }) {
  let shown = [...probabilities.keys()];
  if (shown.length > CLASSES_SHOWN) {
    shown = shown.sort((one, other) => probabilities[other] - probabilities[one]).slice(0, CLASSES_SHOWN);
  }
  element("classes").tBodies[0].replaceChildren(
    ...shown.map((index) => {
      const meter = make("meter", { value: probabilities[index], ariaHidden: "true" }); // the number is beside it
      const name = make("th", { textContent: metadata.labels[index], scope: "row" });
      const share = make("td", { textContent: percent(probabilities[index]) });
      return make("tr", { className: index === best ? "best" : "" }, name, make("td", {}, meter), share);
    }),
  );
}

/** Say what all layers answer to the text whose answer is shown, in which time, and the answer aloud. */
async function compare(found) {
  let words = "No exit before the last was certain enough.";
  if (found.layer < metadata.layers - 1) {
    const whole = await classify(found.text, 0);
    if (!isCurrent(found)) return;
    const label = metadata.labels[whole.logits.indexOf(Math.max(...whole.logits))];
    const same = label === found.label ? "the same answer" : `another answer: ${label}`;
    words = `All ${metadata.layers} layers: ${milliseconds(whole.ms)}, ${same}.`;
  }
  element("answer").setAttribute("aria-busy", "false");
  element("whole").textContent = words;
  element("spoken").textContent =
    `${found.label}, ${percent(found.probabilities[found.best])}. ${element("summary").textContent}`;
}

function keep() {
  const { text, speed, label, layer, ms } = last;
  const words = `${label}, layer ${layer + 1}, ${milliseconds(ms)}, speed ${speed.toFixed(2)}`;
  const cells = Array.from({ length: metadata.layers }, (_, number) =>
    make("i", { className: number < layer ? "ran" : number === layer ? "exit" : "" }),
  );
  const entry = make(
    "li",
    {},
    make("p", { className: "kept-text", textContent: text, dir: "auto" }),
    make(
      "div",
      { className: "between hint" },
      make("span", { textContent: words }),
      make("span", { className: "small-layers", ariaHidden: "true" }, ...cells),
    ),
  );
  element("compare").querySelector("ul").prepend(entry);
  element("compare").hidden = false;
  element("text").select();
  element("text").focus();
}

document.forms[0].addEventListener("submit", (event) => event.preventDefault());
element("text").addEventListener("input", schedule);
element("speed").addEventListener("input", () => (showSpeed(), schedule()));
element("keep").addEventListener("click", keep);
load().then(showModel, showFailure);
