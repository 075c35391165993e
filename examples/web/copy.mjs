// Copy what the page loads from other packages into its folder vendor/.
//
//     node copy.mjs [FOLDER]    the page's folder; by default the one of this file
import { copyFile, mkdir } from "node:fs/promises";
import { basename, join } from "node:path";

const here = import.meta.dirname;
const vendor = join(process.argv[2] ?? here, "vendor");
const files = [
  "../node/packed.mjs",
  "node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs",
  "node_modules/onnxruntime-web/dist/ort.wasm.min.mjs",
  "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
  "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
];
await mkdir(vendor, { recursive: true });
for (const file of files) await copyFile(join(here, file), join(vendor, basename(file)));
