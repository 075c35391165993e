// Classify each line of standard input: its label, probability and exit layer, separated by tabs.
//
//     node classify.mjs MODEL.onnx TOKENIZER.json [SPEED] < texts.txt
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { encode, readMetadata, readTokenizer, sessionOptions, softmax } from "./packed.mjs";

const [modelPath, tokenizerPath, speedGiven] = process.argv.slice(2);
if (tokenizerPath === undefined || !(Number(speedGiven ?? 0) >= 0 && Number(speedGiven ?? 0) <= 1)) {
  console.error("Usage: node classify.mjs MODEL.onnx TOKENIZER.json [SPEED] < texts.txt   (SPEED from 0 to 1)");
  process.exit(2);
}
const model = await readFile(modelPath);
const metadata = readMetadata(model);
const tokenizer = new Tokenizer(await readTokenizer(await readFile(tokenizerPath), metadata), {});
const session = await InferenceSession.create(model, sessionOptions);
const speed = new Tensor("float32", [Number(speedGiven ?? metadata.default_speed)], [1]);

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { ids, types } = encode(tokenizer, line, metadata);
  const { logits, exit_layer } = await session.run({
    input_ids: new Tensor("int64", ids, [1, ids.length]),
    token_type_ids: new Tensor("int64", types, [1, ids.length]),
    speed,
  });
  const best = logits.data.indexOf(Math.max(...logits.data));
  console.log([metadata.labels[best], softmax(logits.data)[best].toFixed(6), exit_layer.data[0]].join("\t"));
}
