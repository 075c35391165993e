// What any JavaScript host of a packed file needs: its metadata, its session's options, and texts as token ids.

/** Options of `InferenceSession.create`: the bundle's own kernels, which are faster than the fused one. */
export const sessionOptions = {
  intraOpNumThreads: 1,
  extra: { optimization: { disable_specified_optimizers: "SkipLayerNormFusion" } },
};

/**
 * Read the metadata of a packed file (docs/bundle-format.md, "The packed file").
 *
 * ONNX Runtime has no JavaScript API for it (onnxruntime#16547), so this reads the protobuf message: the entries of its
 * field 14 have the fields 1, the key, and 2, the value.
 *
 * @param {Uint8Array} file the whole file
 * @returns {object} name without `fastbert.` -> value, such as `labels` and `max_length`
 * @throws {Error} it is not a packed file, or one of another major version
 */
export function readMetadata(file) {
  const metadata = {};
  const text = new TextDecoder();
  for (const [number, entry] of fields(file)) {
    if (number !== 14) continue;
    const { 1: key = "", 2: value } = Object.fromEntries(
      [...fields(entry)].map(([place, bytes]) => [place, text.decode(bytes)]),
    );
    if (key.startsWith("fastbert.")) metadata[key.slice("fastbert.".length)] = JSON.parse(value);
  }
  const { schema = "nothing" } = metadata;
  if (schema.split(".")[0] !== "fastbert-packed/1") {
    throw new Error(`The model says it is ${schema}; expected fastbert-packed/1. Make one with: fastbert pack`);
  }
  return metadata;
}

/**
 * Parse a tokenizer.json.
 *
 * Another model's tokenizer would give wrong answers without an error, so its digest is checked wherever the platform
 * can: in Node, and in pages from HTTPS or from localhost.
 *
 * @param {Uint8Array} file the whole file
 * @param {object} metadata from `readMetadata`
 * @returns {Promise<object>} the first argument of `new Tokenizer`
 * @throws {Error} it is not the one of the model's bundle
 */
export async function readTokenizer(file, { tokenizer_sha256 }) {
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", file));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== tokenizer_sha256) {
      throw new Error("This tokenizer.json is not the one of the model's bundle. Copy it from there.");
    }
  }
  return JSON.parse(new TextDecoder().decode(file));
}

/**
 * Turn a text into token ids.
 *
 * A long text loses tokens at one end, not its special tokens. They are taken to be half at its start, half at its end,
 * as in every family that fastbert exports: `[CLS] text [SEP]`, `<s> text </s>`.
 *
 * @param {Tokenizer} tokenizer of `@huggingface/tokenizers`, made from the bundle's tokenizer.json
 * @param {string} text
 * @param {object} metadata from `readMetadata`
 * @returns {{ids: number[], types: number[], truncated: boolean}} at least one token
 * @throws {Error} a token that the model does not know: the tokenizer belongs to another model
 */
export function encode(tokenizer, text, metadata) {
  const { max_length: most, truncation_side: side, vocab_size, type_vocab_size, pad_token_id } = metadata;
  let { ids, token_type_ids: types = [] } = tokenizer.encode(text, { return_token_type_ids: true });
  const truncated = ids.length > most;
  if (truncated) {
    const special = ids.length - tokenizer.encode(text, { add_special_tokens: false }).ids.length;
    const kept = side === "right" ? most - special / 2 : special / 2; // of the start
    ids = [...ids.slice(0, kept), ...ids.slice(ids.length - most + kept)];
    types = [...types.slice(0, kept), ...types.slice(types.length - most + kept)];
  }
  if (ids.length === 0) ids = [pad_token_id];
  if (types.length !== ids.length || type_vocab_size === 1) types = ids.map(() => 0);
  const unknown = ids.findIndex((id) => !(id < vocab_size)); // also undefined
  if (unknown >= 0) {
    throw new Error(
      `The tokenizer gives token ${unknown} the id ${ids[unknown]}; the model knows 0 to ${vocab_size - 1}.`,
    );
  }
  return { ids, types, truncated };
}

/** The probabilities of logits. */
export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power);
  return powers.map((power) => power / sum);
}

/** Yield the number and the content of each field of a protobuf message that has a length. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= message.length) throw new Error("The model is not an ONNX file, or was cut off.");
      const byte = message[at++];
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
  };
  const skipped = { 0: varint, 1: () => (at += 8), 5: () => (at += 4) };
  while (at < message.length) {
    const tag = varint();
    if (tag % 8 === 2) {
      const length = varint();
      yield [Math.floor(tag / 8), message.subarray(at, at + length)];
      at += length;
    } else if (tag % 8 in skipped) {
      skipped[tag % 8]();
    } else {
      throw new Error("The model is not an ONNX file.");
    }
  }
  if (at > message.length) throw new Error("The model was cut off.");
}
