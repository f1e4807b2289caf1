// Places the nodes of a graph in layers, so that streams run one way and cross seldom: longest
// paths give the layers, medians of neighbours the order (Sugiyama, Tagawa, Toda 1981).

const GAP = 28;
const NUM_SWEEPS = 6;

/**
 * Place nodes `{id, width, height}` and edges `{from, to, gap}`; `gap` is the room that the edge's
 * label needs between two layers. Edges that close a cycle run backwards. Returns the size, the
 * nodes with `x` and `y` (their corner), and the edges with `points`, from border to border.
 * With `isVertical` streams run down, otherwise to the right.
 */
export function layOut(nodes, edges, isVertical) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, ins: [], outs: [] }]));
  const known = edges.filter((edge) => byId.has(edge.from) && byId.has(edge.to));
  const backward = findBackward(byId, known);
  const forward = known.filter((edge) => !backward.has(edge));
  const layers = makeLayers(byId, forward);
  const chains = addBends(layers, byId, forward);
  orderLayers(layers);
  place(layers, known, byId, isVertical);
  const placed = known.map((edge) => ({
    ...edge,
    isBackward: backward.has(edge),
    points: pointsOf(edge, byId, chains.get(edge) ?? [], isVertical),
  }));
  const real = layers.flat().filter((node) => !node.isBend);
  return {
    nodes: real,
    edges: placed,
    width: Math.max(0, ...layers.flat().map((node) => node.x + node.width)),
    height: Math.max(0, ...layers.flat().map((node) => node.y + node.height)),
  };
}

/** The edges that close a cycle, found from the nodes in their given order. */
function findBackward(byId, edges) {
  const outs = Map.groupBy(edges, (edge) => edge.from);
  const state = new Map();
  const backward = new Set();
  for (const start of byId.keys()) {
    // Not recursive: a chain may be long.
    const stack = [[start, 0]];
    while (stack.length) {
      const [id, at] = stack.at(-1);
      if (at === 0) {
        if (state.has(id)) {
          stack.pop();
          continue;
        }
        state.set(id, "open");
      }
      const edge = (outs.get(id) ?? [])[at];
      stack.at(-1)[1] += 1;
      if (!edge) {
        state.set(id, "done");
        stack.pop();
      } else if (state.get(edge.to) === "open") backward.add(edge);
      else if (!state.has(edge.to)) stack.push([edge.to, 0]);
    }
  }
  return backward;
}

function makeLayers(byId, edges) {
  const left = new Map([...byId.keys()].map((id) => [id, 0]));
  for (const edge of edges) left.set(edge.to, left.get(edge.to) + 1);
  const outs = Map.groupBy(edges, (edge) => edge.from);
  const ready = [...byId.keys()].filter((id) => !left.get(id));
  for (const id of byId.keys()) byId.get(id).layer = 0;
  for (let id; (id = ready.shift()) !== undefined; ) {
    for (const edge of outs.get(id) ?? []) {
      byId.get(edge.to).layer = Math.max(byId.get(edge.to).layer, byId.get(id).layer + 1);
      left.set(edge.to, left.get(edge.to) - 1);
      if (!left.get(edge.to)) ready.push(edge.to);
    }
  }
  const layers = [];
  for (const node of byId.values()) (layers[node.layer] ??= []).push(node);
  return layers;
}

/** Put a bend into each layer that an edge crosses, so that no node is placed on the edge. */
function addBends(layers, byId, edges) {
  const chains = new Map();
  for (const edge of edges) {
    let last = byId.get(edge.from);
    const target = byId.get(edge.to);
    const chain = [];
    for (let layer = last.layer + 1; layer < target.layer; layer += 1) {
      const bend = { isBend: true, width: 8, height: 8, ins: [], outs: [] };
      link(last, bend, edge);
      layers[layer].push(bend);
      chain.push(bend);
      last = bend;
    }
    link(last, target, edge);
    chains.set(edge, chain);
  }
  return chains;
}

function link(from, to, edge) {
  from.outs.push({ node: to, edge });
  to.ins.push({ node: from, edge });
}

function orderLayers(layers) {
  for (let sweep = 0; sweep < NUM_SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    for (const layer of isDown ? layers : layers.toReversed()) {
      const rank = new Map(layer.map((node, at) => [node, at]));
      const middle = new Map(
        layer.map((node) => {
          const neighbours = isDown ? node.ins : node.outs;
          const sum = neighbours.reduce((total, other) => total + (other.node.rank ?? 0), 0);
          return [node, neighbours.length ? sum / neighbours.length : rank.get(node)];
        }),
      );
      layer.sort((a, b) => middle.get(a) - middle.get(b) || rank.get(a) - rank.get(b));
      layer.forEach((node, at) => (node.rank = at - (layer.length - 1) / 2));
    }
  }
}

function place(layers, edges, byId, isVertical) {
  const [across, along] = isVertical ? ["width", "height"] : ["height", "width"];
  const [crossAxis, mainAxis] = isVertical ? ["x", "y"] : ["y", "x"];
  const breadth = layers.map((layer) => layer.reduce((sum, node) => sum + node[across] + GAP, -GAP));
  const widest = Math.max(0, ...breadth);
  let start = 0;
  layers.forEach((layer, at) => {
    const depth = Math.max(...layer.map((node) => node[along]));
    let cross = (widest - breadth[at]) / 2;
    for (const node of layer) {
      node[crossAxis] = cross;
      node[mainAxis] = start + (depth - node[along]) / 2;
      cross += node[across] + GAP;
    }
    const leaving = edges.filter((edge) => byId.get(edge.from).layer === at || byId.get(edge.to).layer === at + 1);
    start += depth + Math.max(GAP, ...leaving.map((edge) => edge.gap));
  });
}

/** The corners of an edge. The edges at one side of a node meet it side by side. */
function pointsOf(edge, byId, bends, isVertical) {
  const from = byId.get(edge.from);
  const to = byId.get(edge.to);
  const port = (node, links, isEnd) => {
    const sorted = links.toSorted((a, b) => centre(a.node, isVertical) - centre(b.node, isVertical));
    const at = sorted.findIndex((one) => one.edge === edge);
    // One that runs backwards is no link; it takes the outermost place.
    const share = at < 0 ? 0.96 : (at + 1) / (sorted.length + 1);
    return isVertical
      ? [node.x + node.width * share, node.y + (isEnd ? 0 : node.height)]
      : [node.x + (isEnd ? 0 : node.width), node.y + node.height * share];
  };
  const middles = bends.map((bend) => [bend.x + bend.width / 2, bend.y + bend.height / 2]);
  return [port(from, from.outs, false), ...middles, port(to, to.ins, true)];
}

function centre(node, isVertical) {
  return isVertical ? node.x + node.width / 2 : node.y + node.height / 2;
}
