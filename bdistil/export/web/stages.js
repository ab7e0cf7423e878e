// A progressive ensemble in a browser, stage by stage, by onnxruntime-web.
//
//   const ensemble = await Ensemble.open();
//   for await (const { stage, answers } of ensemble.stages(x)) { ... }  // leave when you like
//
// x is a Float32Array of raw features, one example after another.

import * as ort from "./ort/ort.wasm.min.mjs";
import { sha256 } from "./sha256.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // several need headers of the server's own, and pay only for large graphs

export class Ensemble {
  constructor(config, sessions) {
    this.config = config;
    this.sessions = sessions;
    const targets = [config.columns?.label ?? []].flat(); // of regression
    const numbered = Array.from({ length: config.outputs }, (_, i) => String(i));
    this.names = config.class_names ?? (targets.length === config.outputs ? targets : numbered);
    this.temperatures = config.calibration?.temperatures ?? [];
  }

  // From the folder that `bdistil export --web` wrote; files are checked by their hashes.
  static async open(folder = new URL("./", import.meta.url)) {
    const read = async (name) => {
      const answer = await fetch(new URL(name, folder), { cache: "no-cache" }); // no older one
      if (!answer.ok) throw new Error(`${name} is missing; export the ensemble again.`);
      return new Uint8Array(await answer.arrayBuffer());
    };
    const parse = (bytes, name) => {
      try {
        return JSON.parse(new TextDecoder().decode(bytes));
      } catch {
        throw new Error(`${name} is damaged; export the ensemble again.`);
      }
    };
    const hashes = parse(await read("hashes.json"), "hashes.json");
    const checked = async (name) => {
      const bytes = await read(name);
      if (sha256(bytes) !== hashes.files?.[name])
        throw new Error(`${name} is damaged or another file; export the ensemble again.`);
      return bytes;
    };
    const config = parse(await checked("config.json"), "config.json");
    const sessions = [];
    for (let stage = 1; stage <= config.students.length; stage++)
      sessions.push(await ort.InferenceSession.create(await checked(`stage_${stage}.onnx`)));
    return new Ensemble(config, sessions);
  }

  // Number of features of one example.
  get size() {
    return this.config.input_shape.reduce((product, side) => product * side, 1);
  }

  // A batch before the first stage.
  begin(x) {
    const { input_shape: shape, outputs, name } = this.config;
    const batch = x.length / this.size;
    if (!Number.isInteger(batch) || batch < 1 || !x.every(Number.isFinite))
      throw new Error(`${name} takes ${this.size} finite numbers an example.`);
    const logits = new ort.Tensor("float32", new Float32Array(batch * outputs), [batch, outputs]);
    return { stage: 0, logits, state: { x: new ort.Tensor("float32", x, [batch, ...shape]), logits } };
  }

  // One stage further; no student runs twice.
  async advance({ stage, state }) {
    const session = this.sessions[stage];
    const wanted = Object.fromEntries(session.inputNames.map((name) => [name, state[name]]));
    const found = { ...state };
    for (const [name, value] of Object.entries(await session.run(wanted)))
      found[name.replace(/^next_/, "")] = value;
    return { stage: stage + 1, logits: found.logits, state: found };
  }

  // After each stage: {stage, logits, answers}, the last for each example.
  async *stages(x) {
    for (let progress = this.begin(x); progress.stage < this.sessions.length; ) {
      progress = await this.advance(progress);
      const { stage, logits } = progress;
      yield { stage, logits: logits.data, answers: this.answers(progress) };
    }
  }

  // For each example {name, probability} of every class or label, the surest first, calibrated;
  // {name, value} of every target for regression.
  answers({ stage, logits }) {
    const [batch, outputs] = logits.dims;
    const { task } = this.config;
    return Array.from({ length: batch }, (_, row) => {
      const own = Array.from(logits.data.slice(row * outputs, (row + 1) * outputs));
      if (task === "regression") return own.map((value, i) => ({ name: this.names[i], value }));
      const scaled = own.map((logit) => logit / (this.temperatures[stage - 1] ?? 1));
      const peak = Math.max(...scaled);
      const powers = scaled.map((logit) => Math.exp(logit - peak));
      const sum = powers.reduce((a, b) => a + b, 0);
      const sure = (i) => (task === "multilabel" ? 1 / (1 + Math.exp(-scaled[i])) : powers[i] / sum);
      const found = own.map((_, i) => ({ name: this.names[i], probability: sure(i) }));
      return found.sort((a, b) => b.probability - a.probability);
    });
  }

  // Milliseconds that each stage takes for one example here, measured.
  async paces(x, repeats = 20) {
    const found = [];
    for (let progress = this.begin(x); progress.stage < this.sessions.length; ) {
      await this.advance(progress); // the first call sets up
      const start = performance.now();
      let next;
      for (let i = 0; i < repeats; i++) next = await this.advance(progress);
      found.push((performance.now() - start) / repeats);
      progress = next;
    }
    return found;
  }
}
