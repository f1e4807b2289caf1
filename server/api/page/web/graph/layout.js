// Places the nodes of a graph in layers, so that streams run one way and cross seldom: longest
// paths give the layers, medians of neighbours the order (Sugiyama, Tagawa, Toda 1981).

const GAP = 28;
const LANE = 44;
const NUM_SWEEPS = 6;

/**
 * Place nodes `{id, width, height}` and edges `{from, to, label, isSide, gap}`; `gap` is the room
 * that the edge's label needs between two layers. Returns the size, the nodes with `x` and `y`
 * (their corner), and the edges with `points`. Those that would close a cycle are `isBackward`:
 * they run in lanes of their own beside all nodes. With `isVertical` streams run down, otherwise
 * to the right.
 */
export function layOut(nodes, edges, isVertical) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, ins: [], outs: [] }]));
  const known = edges.filter((edge) => byId.has(edge.from) && byId.has(edge.to));
  const forward = findForward(known);
  const backward = known.filter((edge) => !forward.includes(edge));
  const layers = makeLayers(byId, forward);
  const chains = addBends(layers, byId, forward);
  orderLayers(layers);
  place(layers, forward, byId, isVertical);
  const all = layers.flat();
  const size = (axis, side) => Math.max(0, ...all.map((node) => node[axis] + node[side]));
  const depth = isVertical ? size("x", "width") : size("y", "height");
  const lanes = [...new Set(backward.map(streamOf))];
  const placed = [
    ...forward.map((edge) => ({ ...edge, points: pointsOf(edge, byId, chains.get(edge), isVertical) })),
    ...backward.map((edge) => {
      const lane = depth + LANE * (lanes.indexOf(streamOf(edge)) + 0.9);
      return { ...edge, isBackward: true, points: aroundOf(edge, byId, lane, isVertical) };
    }),
  ];
  const margin = lanes.length * LANE;
  return {
    nodes: all.filter((node) => !node.isBend),
    edges: placed,
    width: size("x", "width") + (isVertical ? margin : 0),
    height: size("y", "height") + (isVertical ? 0 : margin),
  };
}

/** The edges of one stream or side packet leave its writer together. */
const streamOf = (edge) => `${edge.from} ${edge.isSide} ${edge.label}`;

/** The edges that close no cycle. Streams come first: they, not side packets, give the direction. */
function findForward(edges) {
  const outs = new Map();
  const reaches = (from, to) => {
    const seen = new Set([from]);
    for (const id of seen) {
      if (id === to) return true;
      for (const next of outs.get(id) ?? []) seen.add(next);
    }
    return false;
  };
  return [...edges.filter((edge) => !edge.isSide), ...edges.filter((edge) => edge.isSide)].filter((edge) => {
    if (reaches(edge.to, edge.from)) return false;
    outs.set(edge.from, [...(outs.get(edge.from) ?? []), edge.to]);
    return true;
  });
}

function makeLayers(byId, edges) {
  const left = new Map([...byId.keys()].map((id) => [id, 0]));
  for (const edge of edges) left.set(edge.to, left.get(edge.to) + 1);
  const ready = [...byId.keys()].filter((id) => !left.get(id));
  for (const node of byId.values()) node.layer = 0;
  for (const id of ready) {
    for (const edge of edges.filter(({ from }) => from === id)) {
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
      // An edge passes a layer straight, and turns only between two of them.
      if (node.isBend) node[along] = depth;
      node[crossAxis] = cross;
      node[mainAxis] = start + (depth - node[along]) / 2;
      cross += node[across] + GAP;
    }
    const leaving = edges.filter((edge) => byId.get(edge.from).layer === at || byId.get(edge.to).layer === at + 1);
    start += depth + Math.max(GAP, ...leaving.map((edge) => edge.gap));
  });
}

/** The corners of an edge, from border to border. */
function pointsOf(edge, byId, bends, isVertical) {
  const from = byId.get(edge.from);
  const to = byId.get(edge.to);
  const middles = bends.flatMap(({ x, y, width, height }) => {
    const [middleX, middleY] = [x + width / 2, y + height / 2];
    return isVertical ? [[middleX, y], [middleX, y + height]] : [[x, middleY], [x + width, middleY]];
  });
  return [port(from, from.outs, edge, false, isVertical), ...middles, port(to, to.ins, edge, true, isVertical)];
}

/** Where an edge meets a node: side by side with the others, but together with its own stream. */
function port(node, links, edge, isEnd, isVertical) {
  const nameOf = (one) => (isEnd ? one : streamOf(one));
  const sorted = links.toSorted((a, b) => centre(a.node, isVertical) - centre(b.node, isVertical));
  const names = [...new Set(sorted.map((one) => nameOf(one.edge)))];
  const share = (names.indexOf(nameOf(edge)) + 1) / (names.length + 1);
  return isVertical
    ? [node.x + node.width * share, node.y + (isEnd ? 0 : node.height)]
    : [node.x + (isEnd ? 0 : node.width), node.y + node.height * share];
}

/** Out of a node's side, along a lane, and into the side of an earlier node. */
function aroundOf(edge, byId, lane, isVertical) {
  const from = byId.get(edge.from);
  const to = byId.get(edge.to);
  if (isVertical) {
    const [y1, y2] = [from.y + from.height * 0.7, to.y + to.height * 0.3];
    return [[from.x + from.width, y1], [lane, y1], [lane, y2], [to.x + to.width, y2]];
  }
  const [x1, x2] = [from.x + from.width * 0.7, to.x + to.width * 0.3];
  return [[x1, from.y + from.height], [x1, lane], [x2, lane], [x2, to.y + to.height]];
}

function centre(node, isVertical) {
  return isVertical ? node.x + node.width / 2 : node.y + node.height / 2;
}
