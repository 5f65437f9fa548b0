/** Where the bands of a picture of flows lie: sources at the left, targets at the right. Pure. */

import type { Flow } from "../shapes";

export interface Block {
  name: string;
  y: number;
  height: number;
}

export interface Band {
  flow: Flow;
  /** Its upper edge at the left and at the right. */
  from: number;
  to: number;
  height: number;
}

export interface Picture {
  sources: Block[];
  targets: Block[];
  bands: Band[];
  height: number;
}

const GAP = 14;
const THINNEST = 3;

/** All flows in a picture whose widest side is about `room` high; each is seen, however small. */
export function picture(flows: readonly Flow[], room: number): Picture {
  const moved = flows.filter((flow) => Number(flow.rows) > 0);
  const all = moved.reduce((rows, flow) => rows + Number(flow.rows), 0);
  const heights = moved.map((flow) => Math.max(THINNEST, (Number(flow.rows) / all) * room));
  const left = side(moved, heights, (flow) => flow.source);
  const right = side(moved, heights, (flow) => flow.target);
  const bands = moved.map((flow, at) => ({
    flow,
    from: left.places[at] ?? 0,
    to: right.places[at] ?? 0,
    height: heights[at] ?? THINNEST,
  }));
  const height = Math.max(left.height, right.height);
  return { sources: left.blocks, targets: right.blocks, bands, height };
}

function side(flows: readonly Flow[], heights: readonly number[], of: (flow: Flow) => string) {
  const names = [...new Set(flows.map(of))];
  const places: number[] = [];
  const blocks: Block[] = [];
  let y = 0;
  for (const name of names) {
    const top = y;
    flows.forEach((flow, at) => {
      if (of(flow) === name) {
        places[at] = y;
        y += heights[at] ?? THINNEST;
      }
    });
    blocks.push({ name, y: top, height: y - top });
    y += GAP;
  }
  return { places, blocks, height: Math.max(0, y - GAP) };
}
