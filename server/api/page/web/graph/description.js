// From the graph in /v1/status to what is drawn: nodes, and an edge for each reader of a stream.

const IN = "input";
const OUT = "output";

/** `before` is the graph of the last snapshot, `seconds` ago: rates are the difference. */
export function graphOf(model, before, seconds) {
  const { graph } = model;
  const streams = new Map(graph.streams.map((stream) => [stream.name, stream]));
  const nodes = graph.nodes.map((node) => describeNode(node, before, seconds));
  const borders = [
    { id: IN, title: "request", isBorder: true },
    { id: OUT, title: "answer", isBorder: true },
  ];
  const edges = [...streamEdges(graph, streams), ...packetEdges(graph)];
  for (const edge of edges) {
    // The request itself is no packet that a node sent.
    const packets = edge.from === IN ? model.requests.total : edge.packets;
    const last = before?.edges.find((one) => one.id === edge.id);
    edge.packets = packets;
    edge.rate = rateOf(packets, last?.packets, seconds);
  }
  return { nodes: [borders[0], ...nodes, borders[1]], edges };
}

function describeNode(node, before, seconds) {
  const last = before?.nodes.find((one) => one.id === nodeId(node.name));
  return {
    id: nodeId(node.name),
    title: node.name,
    calculator: node.calculator,
    options: node.options,
    inFlight: node.running,
    calls: node.calls,
    errors: node.errors,
    seconds: node.seconds,
    rate: rateOf(node.calls, last?.calls, seconds),
    newErrors: last ? node.errors - last.errors : 0,
    queue: node.status.num_queued_requests,
    // Its own work, without waiting for the nodes before it.
    meanSeconds: node.calls > node.running ? Math.max(0, node.seconds - node.waiting_s) / (node.calls - node.running) : undefined,
  };
}

const nodeId = (name) => `node ${name}`;

function rateOf(now, before, seconds) {
  if (now === undefined || before === undefined || !(seconds > 0)) return 0;
  return Math.max(0, now - before) / seconds;
}

function streamEdges(graph, streams) {
  const writers = new Map([[graph.input_stream, IN]]);
  for (const node of graph.nodes) {
    for (const { name } of node.outputs) writers.set(name, nodeId(node.name));
  }
  const edge = (name, to, tag) => ({
    id: `${name} ${to} ${tag}`,
    from: writers.get(name),
    to,
    label: name,
    type: streams.get(name)?.type ?? "",
    packets: streams.get(name)?.packets,
    waiting: streams.get(name)?.waiting ?? 0,
  });
  const reads = graph.nodes.flatMap((node) => node.inputs.map(({ name, tag }) => edge(name, nodeId(node.name), tag)));
  return [...reads, edge(graph.output_stream, OUT, "")];
}

/** Side packets from the node that makes one to those that take it; parameters come with requests. */
function packetEdges(graph) {
  const makers = new Map(Object.keys(graph.request_packets).map((name) => [name, IN]));
  const types = new Map(Object.entries(graph.request_packets));
  for (const node of graph.nodes) {
    for (const { name, type } of node.output_side_packets) {
      makers.set(name, nodeId(node.name));
      types.set(name, type ?? "");
    }
  }
  return graph.nodes.flatMap((node) =>
    node.input_side_packets
      .filter(({ name }) => makers.has(name))
      .map(({ name, tag }) => ({
        id: `side ${name} ${node.name} ${tag}`,
        from: makers.get(name),
        to: nodeId(node.name),
        label: name,
        type: types.get(name) ?? "",
        isSide: true,
      })),
  );
}
