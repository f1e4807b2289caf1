// What GET /v1/status says, in the words of the panels.
import { bytes, duration, number, percent } from "./format.js";
import { graphOf } from "./graph/description.js";
import { HOUR_S, mergeHistory, sumHistories } from "./history.js";

const SERVES = { text_generation: "chat", embeddings: "embeddings", rerank: "rerank", raw: "raw" };
const TASKS = {
  text_generation: "text generation",
  embeddings: "embeddings",
  rerank: "rerank",
  image_generation: "image generation",
  speech2text: "speech to text",
  text2speech: "text to speech",
  inference: "tensors",
  raw: "HTTP requests",
};

/** A snapshot from the JSON of /v1/status; `last` is the one before, whose history goes on. */
export function readSnapshot(status, last) {
  const isSameProcess = last?.process === processOf(status);
  return new Snapshot(status, isSameProcess ? last : null);
}

const processOf = ({ server }) => `${server.pid} ${server.version}`;

class Snapshot {
  constructor(status, last) {
    const { server, cpu, memory } = status;
    this.process = processOf(status);
    this.time = status.time;
    this.version = server.version;
    this.uptimeSeconds = server.uptime_s;
    this.memoryBytes = memory.used_bytes;
    this.draining = server.draining;
    this.models = status.models.map((model) => {
      const label = labelOf(model, status.models);
      const before = [...(last?.models ?? []), ...(last?.lostModels ?? [])].find((one) => one.label === label);
      return describeModel(model, label, before, status.time - (last?.time ?? 0));
    });
    this.numFailed = this.models.filter((model) => model.stateKind === "bad").length;
    this.lostReplicas = (status.replicas ?? []).filter(({ problem }) => problem);
    // What a replica had done before it ended stays in the charts of all models.
    const isKnown = ({ label }) => this.models.some((model) => model.label === label);
    this.lostModels = [...(last?.models ?? []), ...(last?.lostModels ?? [])].filter(
      (model) => model.isOfReplica && !isKnown(model) && model.points.at(-1)?.[0] > status.time - HOUR_S,
    );
    this.machineFacts = machineFacts(server, cpu, memory, this.models);
  }

  /** The moment after which points of the history are still unknown. */
  get newestPoint() {
    return Math.max(0, ...this.models.map((model) => model.points.at(-1)?.[0] ?? 0));
  }

  /** All engines as one. */
  get total() {
    const engines = this.models.filter((model) => model.history);
    const lost = this.lostModels.filter((model) => model.history);
    const sum = (name) => engines.reduce((total, model) => total + (model[name] ?? 0), 0);
    const worst = (name) => engines.reduce((most, model) => (model[name] > (most ?? -1) ? model[name] : most), null);
    const history = sumHistories([...engines, ...lost].map((model) => model.history));
    return {
      history,
      running: sum("running"),
      waiting: sum("waiting"),
      tokensPerSecond: sum("tokensPerSecond"),
      ttft: worst("ttft"),
      itl: worst("itl"),
      kvUse: worst("kvUse"),
      prefixHits: history.prefixHits.findLast((value) => value !== null) ?? null,
    };
  }

  /** The names under which models can be asked for chat, embeddings, rerank. */
  namesFor(what) {
    const models = this.models.filter((model) => model.isServing && model.serves.includes(what));
    return [...new Set(models.flatMap((model) => [model.name, ...model.aliases]))];
  }

  /** Whether a model takes pictures in a conversation: no LLM here does, but a graph that takes
   * whole HTTP requests may. */
  takesPictures(name) {
    return this.models.some((model) => model.name === name && model.serves.includes("raw"));
  }
}

/** The name, with the version where there are several, and with the replica where there are replicas. */
function labelOf({ name, version, replica }, models) {
  const hasVersions = models.some((model) => model.name === name && model.version !== version);
  const more = [hasVersions && `version ${version}`, replica !== undefined && `replica ${replica}`];
  return [name, ...more.filter(Boolean)].join(", ");
}

function describeModel(model, label, before, seconds) {
  const points = mergeHistory(before?.points ?? [], model.history.points);
  const { engine } = model;
  const history = engine && readHistory(model.history.fields, points);
  const newest = history && { ttft: history.ttft.at(-1), itl: history.itl.at(-1), hits: history.prefixHits.at(-1) };
  return {
    name: model.name,
    label,
    isOfReplica: model.replica !== undefined,
    ...stateOf(model),
    reason: model.reason,
    isServing: model.state === "AVAILABLE",
    task: TASKS[model.task] ?? model.task,
    // A graph that takes HTTP requests may be a chat; it is offered, for only its author knows.
    serves: model.task === "raw" ? ["raw", "chat"] : [SERVES[model.task]].filter(Boolean),
    aliases: model.aliases,
    running: engine?.running ?? model.requests.running,
    waiting: engine?.waiting,
    tokensPerSecond: history ? (history.tokensPerSecond.at(-1) ?? 0) : undefined,
    ttft: engine?.last_minute?.first_token_s?.mean ?? newest?.ttft,
    itl: engine?.last_minute?.inter_token_s?.mean ?? newest?.itl,
    kvUse: engine?.kv_cache.num_blocks ? engine.kv_cache.usage : undefined,
    prefixHits: engine?.prefix_cache.query_tokens ? engine.prefix_cache.hit_tokens / engine.prefix_cache.query_tokens : newest?.hits,
    points,
    history,
    graph: model.graph && graphOf(model, before?.graph, seconds),
    engineFacts: engine ? engineFacts(engine) : [],
    tuning: (model.graph?.nodes ?? []).flatMap(({ status }) => tuningOf(status)),
  };
}

function stateOf({ state, reason, loaded }) {
  if (state === "AVAILABLE" && reason) return { stateText: "available, reload failed", stateKind: "warn" };
  if (state === "AVAILABLE") return { stateText: loaded ? "available" : "available, unloaded", stateKind: "good" };
  if (state === "END") return { stateText: "removed", stateKind: "quiet" };
  if (reason) return { stateText: "failed", stateKind: "bad" };
  return { stateText: state === "UNLOADING" ? "unloading" : "loading", stateKind: "warn" };
}

const LINES = {
  time: "time",
  running: "running",
  waiting: "waiting",
  tokensPerSecond: "generated_tokens_per_s",
  ttft: "first_token_s",
  itl: "inter_token_s",
  kvUse: "kv_usage",
  prefixHits: "prefix_hit_rate",
};

/** An array for each line of the charts. */
function readHistory(fields, points) {
  const read = ([name, key]) => {
    const at = fields.indexOf(key);
    return [name, points.map((point) => point[at])];
  };
  return Object.fromEntries(Object.entries(LINES).map(read));
}

function engineFacts(engine) {
  const { kv_cache: kv, prefix_cache: prefix, last_minute: minute } = engine;
  const spread = (values) => (values?.count || null) && `${duration(values.p50)} / ${duration(values.p90)} / ${duration(values.p99)}`;
  const finished = Object.entries(engine.finished ?? {}).filter(([, times]) => times);
  return [
    ["First token, p50 / p90 / p99 of the last minute", spread(minute?.first_token_s)],
    ["Between tokens, p50 / p90 / p99", spread(minute?.inter_token_s)],
    ["Context length", `${number(engine.max_model_len)} tokens`],
    ["Most at once", `${number(engine.max_num_seqs)} sequences, ${number(engine.max_num_batched_tokens)} tokens a step`],
    ["KV blocks", kv.num_blocks && `${number(kv.num_used_blocks)} of ${number(kv.num_blocks)} in use, ${kv.block_size} tokens each`],
    ["Prefix cache", prefix.enabled ? `${number(prefix.hit_tokens)} of ${number(prefix.query_tokens)} tokens found` : "off"],
    ["Tokens", `${number(engine.prompt_tokens)} in, ${number(engine.generated_tokens)} out`],
    ["Steps", `${number(engine.steps)}, ${duration(engine.steps ? engine.step_s / engine.steps : 0)} each`],
    ["Requests", finished.map(([why, times]) => `${number(times)} ${why}`).join(", ")],
    ["Preemptions", number(engine.preemptions)],
    ["Failed steps", engine.failed_steps ? number(engine.failed_steps) : null],
  ];
}

function machineFacts(server, cpu, memory, models) {
  const kernels = models.map((model) => [model.label, model.tuning.find(([name]) => name === "AMX")?.[1]]).filter(([, used]) => used);
  const amx = kernels.length ? kernels.map(([label, used]) => `${label}: ${used}`).join(", ") : "no loaded model says";
  const features = Object.entries({ AMX: cpu.amx, "AVX-512": cpu.avx512, bf16: cpu.bf16, VNNI: cpu.vnni });
  return [
    ["Processor", cpu.model],
    ["Cores", cpu.cores],
    ["Has", features.filter(([, has]) => has).map(([name]) => name).join(", ") || "none of AMX, AVX-512, bf16, VNNI"],
    ["AMX", cpu.amx ? `the processor has it; used by ${amx}` : "the processor has none"],
    ["Memory of the server", bytes(memory.used_bytes)],
    ["Memory free", bytes(memory.available_bytes)],
    ["Processor time", `${duration(cpu.used_s)} (${percent(cpu.used_s / Math.max(1, server.uptime_s) / (cpu.cores || 1))} of all cores)`],
    ["Up", duration(server.uptime_s)],
    ["Server", server.version],
    ["OpenVINO", server.openvino],
    ["Python", server.python],
    ["Process", String(server.pid)],
    ["State", server.draining ? "stopping" : server.ready ? "ready" : server.reason],
  ];
}

const KERNELS = { fused_mlps: "fused MLPs" };

/** Rows of `[setting, value, why]` from the status of a node that runs a model. */
function tuningOf(status) {
  if (!status.device) return [];
  const rows = [["Device", status.device, "as the graph says, or the processor"]];
  for (const [name, value] of Object.entries(status.auto_tuned ?? {})) {
    rows.push([name, String(value), "measured at the first load; the fastest of the candidates here"]);
  }
  if (status.tuning) rows.push(...candidateRows(status.tuning));
  for (const [name, value] of Object.entries(status.plugin_config ?? {})) {
    if (name in (status.auto_tuned ?? {})) continue;
    rows.push([name, String(value), "plugin_config of the graph, or what goes with it"]);
  }
  if (status.inference_precision) rows.push(["Precision", status.inference_precision, "the fastest that this processor computes in"]);
  if (status.num_streams) rows.push(["Streams", number(status.num_streams), "NUM_STREAMS of the graph"]);
  if (status.kernels) rows.push(...kernelRows(status.kernels));
  return rows;
}

const STEPS = {
  decode_1: "1 answer",
  decode_16: "16 answers",
  decode_64: "64 answers",
  prompt_256: "256 prompt tokens",
};

/** A row for each candidate: its properties, what steps took, and so why it was chosen or not. */
function candidateRows({ properties: chosen, candidates, is_complete: isComplete, layers: [measured, all] }) {
  const same = (some) => JSON.stringify(Object.entries(some).sort()) === JSON.stringify(Object.entries(chosen).sort());
  const part = measured < all ? `, from ${measured} of ${all} layers` : "";
  const rows = candidates.map(({ properties, share, ms }) => {
    const label = Object.entries(properties).map(([name, value]) => `${name} ${value}`).join(", ") || "OpenVINO's own properties";
    const times = Object.entries(ms ?? {}).map(([name, value]) => `${STEPS[name] ?? name}: ${duration(value / 1000)}`).join(", ");
    const why = share === null ? "does not run here" : `requests take ${percent(share)} of the time of OpenVINO's own properties${part}`;
    return [`Tried: ${label}`, times || "–", same(properties) ? `chosen: ${why}` : why];
  });
  if (!isComplete) rows.push(["Tuning", "not complete", "the next load goes on with the candidates that are left"]);
  return rows;
}

function kernelRows({ is_amx_used: isAmxUsed, ...counts }) {
  const list = Object.entries(counts).filter(([, times]) => times).map(([name, times]) => `${times} ${KERNELS[name] ?? name}`);
  return [
    ["AMX", isAmxUsed ? "used" : "not used", "the kernels that OpenVINO chose, read from the compiled model"],
    ["Kernels", list.join(", ") || "–", "read from the compiled model"],
  ];
}
