/**
 * A lab for one trained model in the browser: an encoder, a quantum circuit Born machine, and a generator.
 *
 * Three parts: the simulation of the circuit and its fit, the networks, and the interface. The bit order is that of
 * the Python package: index = Σ_q bit_q · 2^q, so bit q is qubit q.
 */

// ---------------------------------------------------------------------------------------------------------------------
// 1. Simulation
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Return the pairs of qubits with RXX gates, in the order of the gates.
 * @param {number} n The number of qubits.
 * @param {"full"|"linear"|"none"} entanglement All pairs, neighbors on a line, or no pairs.
 * @returns {number[][]} Pairs of qubits.
 */
export function entangledPairs(n, entanglement) {
  const pairs = [];
  const reach = { full: n, linear: 1, none: 0 }[entanglement];
  if (reach === undefined) throw new Error(`entanglement must be full, linear or none; got ${entanglement}`);
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n && j <= i + reach; j++) pairs.push([i, j]);
  return pairs;
}

/** The circuit of RX, RZ and RXX gates as a state vector of 2ⁿ amplitudes in double precision. */
export class Circuit {
  /**
   * @param {number} nQubits The number of qubits n, 1–12.
   * @param {number} layers The number of layers.
   * @param {"full"|"linear"|"none"} entanglement The pairs of qubits with RXX gates.
   * @param {boolean} warmStart Whether to start with a Hadamard gate on every qubit.
   */
  constructor(nQubits, layers, entanglement = "full", warmStart = true) {
    if (!(nQubits >= 1 && nQubits <= 12)) throw new Error(`the lab simulates 1–12 qubits; got ${nQubits}`);
    Object.assign(this, { nQubits, layers, entanglement, warmStart, size: 1 << nQubits });
    this.gates = []; // one per angle: {name, qubits, layer, mask}
    const add = (name, qubits, layer) =>
      this.gates.push({ name, qubits, layer, mask: qubits.reduce((mask, q) => mask | (1 << q), 0) });
    for (let layer = 0; layer < layers; layer++) {
      for (let q = 0; q < nQubits; q++) add("RX", [q], layer);
      for (let q = 0; q < nQubits; q++) add("RZ", [q], layer);
      for (const pair of entangledPairs(nQubits, entanglement)) add("RXX", pair, layer);
    }
    this.state = newState(this.size);
    this.adjoint = newState(this.size);
  }

  /**
   * Return the Born probabilities.
   * @param {ArrayLike<number>} angles Angles, shape (P,), in radians.
   * @returns {Float64Array} Probabilities, shape (2ⁿ,).
   */
  probabilities(angles) {
    const { re, im } = this.run(angles);
    return re.map((a, x) => a * a + im[x] * im[x]);
  }

  /** Apply all gates to |0…0⟩; returns the state {re, im}, which the next call overwrites. */
  run(angles) {
    const state = this.state;
    // Hadamard gates on |0…0⟩ give equal amplitudes.
    state.re.fill(this.warmStart ? 1 / Math.sqrt(this.size) : 0);
    state.im.fill(0);
    if (!this.warmStart) state.re[0] = 1;
    this.gates.forEach((gate, k) => rotate(state, gate, angles[k]));
    return state;
  }

  /**
   * Return the clipped negative log-likelihood and its gradient, by the adjoint method.
   *
   * Source: Jones and Gacon, arXiv:2009.02823.
   * @param {ArrayLike<number>} angles Angles, shape (P,), in radians.
   * @param {ArrayLike<number>} frequencies Frequencies of the codes in the data, shape (2ⁿ,), which sum to 1.
   * @param {number} epsilon The lower bound of probabilities.
   * @returns {{cost: number, gradient: Float64Array}} The cost in nats, and its derivatives, shape (P,).
   */
  costAndGradient(angles, frequencies, epsilon = 1e-8) {
    const state = this.run(angles);
    const { adjoint, gates } = this;
    let cost = 0;
    for (let x = 0; x < this.size; x++) {
      const p = state.re[x] ** 2 + state.im[x] ** 2;
      if (frequencies[x]) cost -= frequencies[x] * Math.log(Math.max(epsilon, p));
      const weight = frequencies[x] && p > epsilon ? -frequencies[x] / p : 0;
      adjoint.re[x] = weight * state.re[x];
      adjoint.im[x] = weight * state.im[x];
    }
    const gradient = new Float64Array(gates.length);
    for (let k = gates.length - 1; k >= 0; k--) {
      gradient[k] = overlap(adjoint, state, gates[k]);
      rotate(state, gates[k], -angles[k]);
      rotate(adjoint, gates[k], -angles[k]);
    }
    return { cost, gradient };
  }
}

function newState(size) {
  return { re: new Float64Array(size), im: new Float64Array(size) };
}

/** Apply the gate exp(−iθP/2), where P is Z on one qubit, or X on the qubits of a bit mask. */
function rotate({ re, im }, { name, mask }, angle) {
  const c = Math.cos(angle / 2), s = Math.sin(angle / 2);
  if (name === "RZ") {
    for (let x = 0; x < re.length; x++) {
      const t = x & mask ? -s : s; // multiplies by c − i t
      const a = re[x];
      re[x] = c * a + t * im[x];
      im[x] = c * im[x] - t * a;
    }
    return;
  }
  const high = 1 << (31 - Math.clz32(mask));
  for (let base = 0; base < re.length; base += 2 * high) {
    for (let x = base; x < base + high; x++) {
      const y = x ^ mask;
      const a = re[x], b = im[x], d = re[y], e = im[y];
      re[x] = c * a + s * e;
      im[x] = c * b - s * d;
      re[y] = c * d + s * b;
      im[y] = c * e - s * a;
    }
  }
}

/** Return Im ⟨λ|P|ψ⟩ for the gate's Pauli string P: the derivative with respect to its angle. */
function overlap(adjoint, state, { name, mask }) {
  let sum = 0;
  for (let x = 0; x < state.re.length; x++) {
    const y = name === "RZ" ? x : x ^ mask;
    const term = adjoint.re[x] * state.im[y] - adjoint.im[x] * state.re[y];
    sum += name === "RZ" && x & mask ? -term : term;
  }
  return sum;
}

/**
 * Return the clipped negative log-likelihood −Σ_x f(x) log max(ε, p(x)).
 * @param {ArrayLike<number>} probabilities The model's probabilities p, shape (2ⁿ,).
 * @param {ArrayLike<number>} frequencies The frequencies f in the data, shape (2ⁿ,).
 * @param {number} epsilon The lower bound ε.
 * @returns {number} The cost in nats.
 */
export function clippedNll(probabilities, frequencies, epsilon = 1e-8) {
  let cost = 0;
  for (let x = 0; x < frequencies.length; x++) {
    if (frequencies[x]) cost -= frequencies[x] * Math.log(Math.max(epsilon, probabilities[x]));
  }
  return cost;
}

/** Return the entropy of a distribution in nats. */
export function entropy(p) {
  return clippedNll(p, p, 0);
}

/**
 * Make a seeded generator of uniform random numbers (mulberry32).
 * @param {number} seed An integer.
 * @returns {() => number} Returns numbers in [0, 1).
 */
export function uniformGenerator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Draw n numbers from the normal distribution with mean 0 and this standard deviation (Box–Muller). */
export function normals(n, deviation, random) {
  return Float64Array.from({ length: n }, () =>
    deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

/**
 * Turn uniform random numbers into samples of a distribution. The same numbers change few samples if p changes little.
 * @param {ArrayLike<number>} p Probabilities, shape (2ⁿ,).
 * @param {ArrayLike<number>} uniforms Numbers in [0, 1), shape (N,).
 * @returns {Uint16Array} Indices, shape (N,).
 */
export function sampleIndices(p, uniforms) {
  const order = Uint32Array.from(uniforms, (_, i) => i).sort((i, j) => uniforms[i] - uniforms[j]);
  const indices = new Uint16Array(uniforms.length);
  let x = 0, cumulative = p[0];
  for (const i of order) {
    while (cumulative <= uniforms[i] && x < p.length - 1) cumulative += p[++x];
    indices[i] = x;
  }
  return indices;
}

/**
 * Estimate probabilities from shots.
 * @param {ArrayLike<number>} p Probabilities, shape (2ⁿ,).
 * @param {Float64Array} uniforms Numbers in [0, 1) in ascending order, one per shot.
 * @returns {Float64Array} Relative frequencies, shape (2ⁿ,).
 */
export function frequenciesOfShots(p, uniforms) {
  const frequencies = new Float64Array(p.length);
  let x = 0, cumulative = p[0];
  for (const u of uniforms) {
    while (cumulative <= u && x < p.length - 1) cumulative += p[++x];
    frequencies[x] += 1 / uniforms.length;
  }
  return frequencies;
}

/** Adam, with the update rule and defaults of PyTorch: one evaluation of the cost and its gradient per step. */
export class Adam {
  constructor({ learningRate = 0.1 } = {}) {
    Object.assign(this, { learningRate, t: 0, mean: null, square: null });
  }

  /**
   * Take one step.
   * @param {Float64Array} angles The current angles, shape (P,).
   * @param {{costAndGradient: Function}} objective Counts and returns evaluations.
   * @returns {Float64Array} The new angles, shape (P,).
   */
  step(angles, objective) {
    const { gradient } = objective.costAndGradient(angles);
    this.mean ??= new Float64Array(angles.length);
    this.square ??= new Float64Array(angles.length);
    const t = ++this.t, first = 1 - 0.9 ** t, second = Math.sqrt(1 - 0.999 ** t);
    return angles.map((angle, k) => {
      this.mean[k] = 0.9 * this.mean[k] + 0.1 * gradient[k];
      this.square[k] = 0.999 * this.square[k] + 0.001 * gradient[k] ** 2;
      return angle - ((this.learningRate / first) * this.mean[k]) / (Math.sqrt(this.square[k]) / second + 1e-8);
    });
  }

  finish() {}
}

/** SPSA as in the Python package: two evaluations of the cost along a random direction per step. */
export class Spsa {
  /**
   * @param {number} budget The number of evaluations.
   * @param {() => number} random Generator of uniform random numbers for the directions.
   */
  constructor(budget, random, { step = 0.05, perturbation = 0.1 } = {}) {
    const steps = Math.floor((budget - 1) / 2);
    Object.assign(this, { size: step, perturbation, random, steps, k: 0, meanSize: null });
  }

  /** Take one step; see `Adam.step`. Returns null after the last step. */
  step(angles, objective) {
    if (this.k >= this.steps) return null;
    const k = this.k++, stability = 0.1 * this.steps;
    const direction = angles.map(() => (this.random() < 0.5 ? -1 : 1));
    const reach = this.perturbation / (k + 1) ** 0.101;
    const costAt = (sign) => objective.cost(angles.map((angle, i) => angle + sign * reach * direction[i]));
    const slope = (costAt(1) - costAt(-1)) / (2 * reach);
    this.meanSize = this.meanSize === null ? Math.abs(slope) : 0.9 * this.meanSize + 0.1 * Math.abs(slope);
    const length = this.size * ((1 + stability) / (k + 1 + stability)) ** 0.602;
    return angles.map((angle, i) => angle - ((length * slope) / Math.max(this.meanSize, 1e-9)) * direction[i]);
  }

  /** Evaluate the final iterate. */
  finish(angles, objective) {
    objective.cost(angles);
  }
}

/** A fit of a circuit to data that advances step by step. */
export class Fit {
  /**
   * @param {Circuit} circuit The circuit.
   * @param {ArrayLike<number>} frequencies Frequencies of the codes in the data, shape (2ⁿ,).
   * @param {Float64Array} start The first angles, shape (P,).
   * @param {{optimizer: "adam"|"spsa", budget: number, shots: number, random: () => number, epsilon: number}} options
   *   With `shots` of 0, SPSA sees exact probabilities. Adam always does.
   */
  constructor(circuit, frequencies, start, { optimizer, budget, shots = 0, random, epsilon = 1e-8 }) {
    Object.assign(this, { circuit, frequencies, budget, shots, random, epsilon });
    Object.assign(this, { angles: start, costs: [], bestCost: Infinity, bestAngles: start, done: false });
    this.optimizer = optimizer === "adam" ? new Adam() : new Spsa(budget, random);
  }

  /** Take one step of the optimizer. At the end, the angles become the best ones that were evaluated. */
  advance() {
    const next = this.costs.length < this.budget ? this.optimizer.step(this.angles, this) : null;
    if (next) this.angles = next;
    if (next && this.costs.length < this.budget) return;
    if (!next && this.costs.length < this.budget) this.optimizer.finish(this.angles, this);
    this.done = true;
    this.angles = this.bestAngles;
  }

  cost(angles) {
    let p = this.circuit.probabilities(angles);
    if (this.shots) {
      p = frequenciesOfShots(p, Float64Array.from({ length: this.shots }, this.random).sort());
    }
    return this.record(angles, clippedNll(p, this.frequencies, this.epsilon));
  }

  costAndGradient(angles) {
    const result = this.circuit.costAndGradient(angles, this.frequencies, this.epsilon);
    this.record(angles, result.cost);
    return result;
  }

  record(angles, cost) {
    if (cost < this.bestCost) Object.assign(this, { bestCost: cost, bestAngles: angles });
    this.costs.push(cost);
    return cost;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// 2. Model: the networks, the drawing as the encoder expects it, and the address of a view
// ---------------------------------------------------------------------------------------------------------------------

const KERNEL = 5; // of all convolutions, with stride 2 and padding 2
const TYPES = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, u2: Uint16Array };
const LARGEST_HEADER = 100_000;

/** A trained model: header fields, arrays, and the networks. */
export class Model {
  /**
   * Read a model file.
   * @param {ArrayBuffer} buffer What `qaan_helpers.lab.export.model_bytes` wrote.
   * @throws {Error} If the file is damaged.
   */
  constructor(buffer) {
    try {
      Object.assign(this, readFile(buffer));
    } catch (error) {
      throw new Error(`the model file is damaged (${error.message})`);
    }
    this.codes = 1 << this.header.n_bits;
    this.images = new Map(); // index of a code → image
    const counts = this.arrays.code_counts.values;
    const total = counts.reduce((sum, count) => sum + count, 0);
    this.frequencies = Float64Array.from(counts, (count) => count / total);
  }

  /** Return the circuit; without RXX gates if `entangling` is false. */
  circuit(entangling = true) {
    const { n_qubits, layers, entanglement, warm_start } = this.header;
    return new Circuit(n_qubits, layers, entangling ? entanglement : "none", warm_start);
  }

  /**
   * Encode an image.
   * @param {ArrayLike<number>} image Brightness in [0, 1], shape (28, 28), flat.
   * @returns {{logits: Float64Array, bits: Uint8Array}} The units minus their thresholds, and the bits, shape (n,).
   */
  encode(image) {
    const weights = (name) => this.arrays[`encoder.${name}`].values;
    const signed = Float64Array.from(image, (value) => 2 * value - 1);
    const first = leaky(convolve(signed, 1, 28, weights("conv1"), 24));
    const second = leaky(convolve(first, 24, 14, weights("conv2"), 48, weights("conv2_bias")));
    const units = multiply(weights("linear"), second, weights("linear_bias"));
    const threshold = this.arrays.thresholds.values;
    const activate = this.header.activation === "tanh" ? Math.tanh : (unit) => unit;
    const logits = units.map((unit, q) => activate(unit) - threshold[q]);
    return { logits, bits: Uint8Array.from(logits, (logit) => (logit > 0 ? 1 : 0)) };
  }

  /**
   * Generate the image of a code.
   * @param {number|ArrayLike<number>} code The index of the code, or its bits, shape (n,).
   * @returns {Float32Array} Brightness in [0, 1], shape (28, 28), flat. It is cached: do not change it.
   */
  decode(code) {
    const index = typeof code === "number" ? code : toIndex(code);
    if (!this.images.has(index)) this.images.set(index, this.generate(toBits(index, this.header.n_bits)));
    return this.images.get(index);
  }

  generate(bits) {
    const weights = (name) => this.arrays[`generator.${name}`].values;
    const latents = Float64Array.from(bits, (bit) => 2 * bit - 1);
    const first = multiply(weights("linear"), latents, weights("linear_bias")).map(relu);
    const second = convolveTransposed(first, 48, 7, weights("conv1"), 24, weights("conv1_bias")).map(relu);
    const logits = convolveTransposed(second, 24, 14, weights("conv2"), 1);
    return Float32Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
  }

  /** Return test digit number i: brightness in [0, 1], shape (28, 28), flat. */
  example(i) {
    return Float64Array.from(this.arrays.examples.values.subarray(784 * i, 784 * (i + 1)), (value) => value / 255);
  }
}

/** Return {header, arrays: {name: {values, shape}}}, or throw an error that says what is wrong. */
function readFile(buffer) {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < 8) throw new Error("it is too short");
  const length = new DataView(buffer).getUint32(0, true);
  if (length > Math.min(LARGEST_HEADER, buffer.byteLength - 4)) throw new Error("its header is too long");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.format !== 1) throw new Error(`its format is ${header.format}, and this page reads format 1`);
  const arrays = {};
  for (const { name, dtype, shape, offset } of header.arrays) {
    const count = shape.reduce((product, size) => product * size, 1);
    const start = 4 + length + offset, end = start + count * TYPES[dtype].BYTES_PER_ELEMENT;
    if (!(end <= buffer.byteLength)) throw new Error(`${name} is incomplete`);
    const values = new TYPES[dtype](buffer.slice(start, end));
    if (!values.every(Number.isFinite)) throw new Error(`${name} holds numbers that are not finite`);
    arrays[name] = { values, shape };
  }
  checkShapes(header, arrays);
  return { header, arrays };
}

function checkShapes({ n_bits: n, n_qubits, layers, entanglement }, arrays) {
  const nAngles = new Circuit(n_qubits, layers, entanglement).gates.length;
  const examples = arrays.labels?.shape[0];
  const expected = {
    "encoder.conv1": [24, 1, 5, 5], "encoder.conv2": [48, 24, 5, 5], "encoder.conv2_bias": [48],
    "encoder.linear": [n, 2352], "encoder.linear_bias": [n], "generator.linear": [2352, n],
    "generator.linear_bias": [2352], "generator.conv1": [48, 24, 5, 5], "generator.conv1_bias": [24],
    "generator.conv2": [24, 1, 5, 5], thresholds: [n], angles: [nAngles], examples: [examples, 28, 28],
    labels: [examples], code_counts: [2 ** n],
  };
  for (const [name, shape] of Object.entries(expected)) {
    const found = arrays[name]?.shape;
    if (String(found) !== String(shape)) throw new Error(`${name} must have shape (${shape}); got (${found})`);
  }
}

/** Return the index Σ_q bit_q · 2^q of bits. */
export function toIndex(bits) {
  return Array.from(bits).reduce((index, bit, q) => index | (bit << q), 0);
}

/** Return the n bits of an index, bit 0 first. */
export function toBits(index, n) {
  return Uint8Array.from({ length: n }, (_, q) => (index >> q) & 1);
}

/** Return the index with its n bits in reversed order. */
export function reverseBits(index, n) {
  return toIndex(toBits(index, n).reverse());
}

function relu(value) {
  return value > 0 ? value : 0;
}

function leaky(values) {
  return values.map((value) => (value > 0 ? value : 0.2 * value));
}

/** Multiply a matrix (rows, columns) by a vector, and add a bias. */
function multiply(matrix, vector, bias) {
  const columns = vector.length;
  return Float64Array.from(bias, (value, row) => {
    let sum = value;
    for (let i = 0; i < columns; i++) sum += matrix[row * columns + i] * vector[i];
    return sum;
  });
}

/** Convolve (channels, size, size) with weights (outputs, channels, 5, 5): (outputs, size / 2, size / 2). */
function convolve(input, channels, size, weights, outputs, bias) {
  const half = size / 2, result = new Float64Array(outputs * half * half);
  for (let o = 0; o < outputs; o++) {
    const start = o * half * half;
    if (bias) result.fill(bias[o], start, start + half * half);
    for (let w = 0; w < channels * KERNEL * KERNEL; w++) {
      const weight = weights[o * channels * KERNEL * KERNEL + w];
      const plane = Math.floor(w / 25) * size * size, ky = (Math.floor(w / 5) % 5) - 2, kx = (w % 5) - 2;
      const first = kx < 0 ? 1 : 0, end = Math.min(half, Math.floor((size - kx + 1) / 2)); // inside the image
      for (let y = ky < 0 ? 1 : 0; y < half && 2 * y + ky < size; y++) {
        const target = start + y * half, source = plane + (2 * y + ky) * size + kx;
        for (let x = first; x < end; x++) result[target + x] += weight * input[source + 2 * x];
      }
    }
  }
  return result;
}

/** Transposed convolution of (channels, size, size), weights (channels, outputs, 5, 5): (outputs, 2 size, 2 size). */
function convolveTransposed(input, channels, size, weights, outputs, bias) {
  const width = 2 * size, area = width * width, result = new Float64Array(outputs * area);
  if (bias) bias.forEach((value, o) => result.fill(value, o * area, (o + 1) * area));
  for (let i = 0; i < channels * size * size; i++) {
    const value = input[i];
    if (!value) continue; // about half of the units are 0 after ReLU
    const channel = Math.floor(i / (size * size)), top = 2 * (Math.floor(i / size) % size) - 2, left = 2 * (i % size) - 2;
    const fromY = Math.max(0, -top), toY = Math.min(KERNEL, width - top);
    const fromX = Math.max(0, -left), toX = Math.min(KERNEL, width - left);
    for (let o = 0; o < outputs; o++) {
      const kernel = (channel * outputs + o) * KERNEL * KERNEL;
      for (let y = fromY; y < toY; y++) {
        const target = o * area + (top + y) * width + left, source = kernel + y * KERNEL;
        for (let x = fromX; x < toX; x++) result[target + x] += value * weights[source + x];
      }
    }
  }
  return result;
}

const BRUSH = 1.15; // radius in pixels of a 28 × 28 image: strokes of MNIST are two to three pixels wide

/**
 * Draw strokes as an image of MNIST's kind: fitted into 20 × 20 pixels, with the center of mass in the middle.
 * @param {number[][][]} strokes Lines of points [x, y] in any unit.
 * @returns {Float64Array|null} Brightness in [0, 1] in steps of 1/15, shape (28, 28), flat; null without a point.
 */
export function drawLikeMnist(strokes) {
  const points = strokes.flat();
  if (!points.length) return null;
  const [low, high] = [Math.min, Math.max].map((pick) =>
    [0, 1].map((axis) => points.reduce((best, point) => pick(best, point[axis]), points[0][axis])));
  const extent = Math.max(high[0] - low[0], high[1] - low[1]);
  const scale = extent > 0 ? (20 - 2 * BRUSH) / extent : 0;
  const middle = [0, 1].map((axis) => (low[axis] + high[axis]) / 2);
  const placed = (shift) => strokes.map((stroke) => stroke.map((point) =>
    [0, 1].map((axis) => (point[axis] - middle[axis]) * scale + 13.5 + shift[axis])));
  const center = centerOfMass(rasterize(placed([0, 0])));
  const image = rasterize(placed(center.map((position) => 13.5 - position)));
  return image.map((value) => Math.round(value * 15) / 15);
}

/** Draw lines of points into an image (28, 28) by the squared distance of each pixel from the nearest line. */
export function rasterize(strokes, radius = BRUSH, size = 28) {
  const distance = new Float64Array(size * size).fill(Infinity);
  for (const stroke of strokes) {
    stroke.forEach(([x1, y1], i) => {
      const [x0, y0] = stroke[Math.max(0, i - 1)];
      const dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy;
      for (let k = 0; k < distance.length; k++) {
        const px = (k % size) - x0, py = Math.floor(k / size) - y0;
        const t = squared ? Math.min(1, Math.max(0, (px * dx + py * dy) / squared)) : 0;
        distance[k] = Math.min(distance[k], (px - t * dx) ** 2 + (py - t * dy) ** 2);
      }
    });
  }
  return distance.map((d) => Math.min(1, Math.max(0, radius + 0.5 - Math.sqrt(d))));
}

function centerOfMass(image) {
  let total = 0, x = 0, y = 0;
  image.forEach((value, k) => {
    total += value;
    x += value * (k % 28);
    y += value * Math.floor(k / 28);
  });
  return total ? [x / total, y / total] : [13.5, 13.5];
}

/**
 * Write a view as the text of an address.
 * @param {object} view See `Lab.view`.
 * @returns {string} Text such as "v=1&m=379&d=t0&b=10110010".
 */
export function viewToText(view) {
  const parts = { v: 1, m: view.model, d: imageToText(view.image), b: view.bits, k: Math.round(100 * view.scale) };
  if (view.reference) parts.a = numbersToText(view.reference);
  const offsets = [...view.offsets].flatMap((value, k) => (value ? [`${k}_${Math.round(1000 * value)}`] : []));
  if (offsets.length) parts.o = offsets.join(".");
  Object.assign(parts, { g: view.gate, n: view.shots, r: view.seed });
  const broken = Object.keys(BREAKS).filter((name) => view.breaks[name]);
  if (broken.length) parts.x = broken.join(".");
  return Object.entries(parts).map(([key, value]) => `${key}=${value}`).join("&");
}

/**
 * Read what `viewToText` wrote.
 * @param {string} text The text, without "#".
 * @returns {object} The view; fields that the text does not mention are missing.
 * @throws {Error} If the text is not such a view.
 */
export function textToView(text) {
  const parts = new URLSearchParams(text);
  const number = (key, least, most) => {
    const value = Number(parts.get(key));
    if (!/^\d{1,6}$/.test(parts.get(key)) || value < least || value > most) throw new Error(`${key} is not allowed`);
    return value;
  };
  if (parts.get("v") !== "1") throw new Error("it belongs to no version of this page");
  const view = {};
  if (parts.has("m")) view.model = parts.get("m");
  if (parts.has("d")) view.image = textToImage(parts.get("d"));
  if (parts.has("b")) view.bits = parts.get("b");
  if (view.bits && !/^[01]{1,12}$/.test(view.bits)) throw new Error("its bits are not 0 and 1");
  if (parts.has("k")) view.scale = number("k", 0, 100) / 100;
  if (parts.has("a")) view.reference = textToNumbers(parts.get("a"));
  if (parts.has("o")) view.offsets = textToOffsets(parts.get("o"));
  if (parts.has("g")) view.gate = number("g", 0, 999);
  if (parts.has("n")) view.shots = number("n", 0, 10000);
  if (view.shots && !SHOTS.includes(view.shots)) throw new Error("its number of shots is not allowed");
  if (parts.has("r")) view.seed = number("r", 0, 65535);
  const broken = parts.get("x")?.split(".") ?? [];
  if (!broken.every((name) => Object.hasOwn(BREAKS, name))) throw new Error("it names an unknown switch");
  view.breaks = Object.fromEntries(Object.keys(BREAKS).map((name) => [name, broken.includes(name)]));
  return view;
}

function imageToText(image) {
  if (image.kind === "none") return "n";
  if (image.kind === "test") return `t${image.number}`;
  const bytes = Uint8Array.from({ length: 392 }, (_, i) =>
    16 * Math.round(15 * image.pixels[2 * i]) + Math.round(15 * image.pixels[2 * i + 1]));
  return `p${bytesToText(bytes)}`;
}

function textToImage(text) {
  if (text === "n") return { kind: "none" };
  if (/^t\d{1,3}$/.test(text)) return { kind: "test", number: Number(text.slice(1)) };
  const bytes = text.startsWith("p") ? textToBytes(text.slice(1)) : [];
  if (bytes.length !== 392) throw new Error("its drawing is incomplete");
  return { kind: "drawing", pixels: Float64Array.from({ length: 784 }, (_, k) =>
    ((k % 2 ? bytes[k >> 1] : bytes[k >> 1] >> 4) & 15) / 15) };
}

function textToOffsets(text) {
  return text.split(".").map((entry) => {
    if (!/^\d{1,3}_-?\d{1,5}$/.test(entry)) throw new Error("its angles are incomplete");
    const [k, value] = entry.split("_").map(Number);
    return [k, value / 1000];
  });
}

function numbersToText(numbers) { // in milliradians, two bytes each
  const view = new DataView(new ArrayBuffer(2 * numbers.length));
  numbers.forEach((value, i) => view.setInt16(2 * i, Math.min(32767, Math.max(-32767, Math.round(1000 * value))), true));
  return bytesToText(new Uint8Array(view.buffer));
}

function textToNumbers(text) {
  const bytes = textToBytes(text);
  if (bytes.length % 2) throw new Error("its angles are incomplete");
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) / 1000);
}

function bytesToText(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function textToBytes(text) {
  if (!/^[\w-]*$/.test(text)) throw new Error("it holds unexpected characters");
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

// ---------------------------------------------------------------------------------------------------------------------
// 3. Interface
// ---------------------------------------------------------------------------------------------------------------------

const SHOTS = [0, 100, 1000, 10000]; // 0 for exact probabilities
const BUDGETS = [20, 100, 300, 1000, 3000];
const N_SAMPLES = 16;
const SPREAD = 0.2; // standard deviation of random angles in radians, as in the Python package
const BREAKS = {
  reversed: ["Reverse the bit order",
    "The generator reads the circuit’s bits from last to first. The probabilities stay the same; the digits change."],
  product: ["Remove the entangling gates",
    "Without RXX, all bits are independent. The cost of a fit stays well above the entropy of the data."],
  short: ["Stop the fit early", "A budget of 20 evaluations is too small. The cost is still high when the fit ends."],
};
const COLORS = ["ink", "muted", "line", "accent", "warm", "heat0", "heat1", "heat2", "surface"]; // in lab.css

/** What the sections say about a model. */
function texts({ header, arrays, codes, frequencies }) {
  const n = header.n_bits, side = 2 ** Math.ceil(n / 2);
  const reader = header.activation === "tanh" ? "The discriminator’s hidden layer" : "An encoder";
  const data = arrays.code_counts.values.reduce((sum, each) => sum + each, 0);
  return {
    draw: `${reader} reads ${n} bits from a 28 × 28 image. The generator makes an image from these ${n} bits alone: ` +
      `this is what the model recalls. Both were trained on the digits ${listed(header.digits)}.`,
    bits: "Select a bit to flip it. The bar is the encoder’s logit: the bit is 1 if the logit is positive. " +
      "The small image is what the flip gives.",
    circuit: `New digits need new codes. A circuit of ${n} qubits samples them: each measurement yields one code. ` +
      `Its ${arrays.angles.values.length} angles set the probability of each of the ${counted(codes)} codes.`,
    samples: `The heat map shows the probability of every code. The index of a code is ${side} × row + column. ` +
      `Circles mark the ${N_SAMPLES} codes that are sampled.`,
    fit: `The data are the codes of ${counted(data)} training digits. The fit changes the angles to lower the cost, ` +
      "the negative log-likelihood of these codes. No model can go below the entropy of the data, " +
      `${entropy(frequencies).toFixed(2)} nats.`,
    breaks: "Each switch plants one fault. Watch the samples, and fit the circuit again.",
  };
}
let nInstances = 0;

/**
 * Show the lab in an element.
 * @param {HTMLElement} element The element; its content is replaced.
 * @param {object} options
 * @param {string|ArrayBuffer} [options.model] Address or content of one model file.
 * @param {{key: string, label: string, model: string|ArrayBuffer}[]} [options.models] Several models to choose from.
 * @param {string} [options.label] Name of the single model.
 * @param {string} [options.state] A view to restore, as `viewToText` writes it.
 * @param {boolean} [options.share] Whether the page's address follows the view.
 * @param {string} [options.notebooks] Address of the folder of the notebooks' pages; no links without it.
 * @returns {Lab} The lab; `destroy` removes it.
 */
export function mount(element, options) {
  return new Lab(element, options);
}

export default {
  /** Show the lab as a widget of anywidget: `binary` holds the model file, `label` its name. */
  render({ model, el }) {
    const root = el.appendChild(document.createElement("div"));
    let lab;
    const show = () => {
      lab?.destroy();
      const { buffer, byteOffset, byteLength } = model.get("binary") ?? new Uint8Array();
      lab = mount(root, { model: buffer.slice(byteOffset, byteOffset + byteLength), label: model.get("label") });
    };
    model.on("change:binary", show);
    show();
    return () => {
      model.off("change:binary", show);
      lab.destroy();
      root.remove();
    };
  },
};

/** Make an element: attributes, `on…` listeners, then children (elements or texts). */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

function button(text, act) {
  return h("button", { type: "button", onclick: act }, text);
}

function row(...children) {
  return h("div", { class: "ql-row" }, children);
}

function note(text) {
  return h("p", { class: "ql-note" }, text);
}

/** Set an attribute only if it changes: assistive technology hears about every change. */
function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function codeText(bits) {
  return Array.from(bits).join("").replace(/(.{4})(?=.)/g, "$1 ");
}

const numberFormat = new Intl.NumberFormat("en");

function counted(number) {
  return numberFormat.format(number);
}

function percent(p) {
  return `${(100 * p).toPrecision(2)}%`;
}

function toMilliradians(angle) {
  return Math.round(1000 * angle) / 1000;
}

function wrapAngle(angle) {
  return angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
}

function listed(items) {
  if (items.length > 3 && items.at(-1) - items[0] === items.length - 1) return `${items[0]} to ${items.at(-1)}`;
  if (items.length > 2) return `${items.slice(0, -1).join(", ")}, and ${items.at(-1)}`;
  return items.join(" and ");
}

/** The interface of one model at a time. Its methods change the state and ask for a redraw in the next frame. */
class Lab {
  constructor(root, options) {
    this.root = root;
    this.id = ++nInstances;
    this.options = options;
    this.models = options.models ?? [{ key: "model", label: options.label ?? "model", model: options.model }];
    this.abort = new AbortController();
    root.classList.add("qaan-lab");
    this.status = h("p", { class: "ql-hidden", role: "status" });
    this.notice = h("div", { class: "ql-notice", role: "alert", hidden: true });
    this.body = h("div", {}, h("p", { class: "ql-note" }, "The model is loading …"));
    root.replaceChildren(this.notice, this.body, this.status);
    this.watchTheme();
    if (options.share) {
      window.addEventListener("hashchange", () => this.open(location.hash.slice(1)), { signal: this.abort.signal });
    }
    this.open(options.share ? location.hash.slice(1) : options.state ?? "");
  }

  /** Remove the lab and everything that it has started. */
  destroy() {
    this.destroyed = true;
    this.running = false;
    this.abort.abort();
    this.observer.disconnect();
    this.sizes.disconnect();
    cancelAnimationFrame(this.waiting);
    [this.saving, this.speaking].forEach(clearTimeout);
    this.root.replaceChildren();
    this.root.classList.remove("qaan-lab");
  }

  // --- loading and the address ---

  /** Restore the view that a text describes, or the default view with a message. */
  async open(text) {
    let view = {}, complaint = "";
    try {
      view = text ? textToView(text) : {};
      const known = view.model === undefined || this.models.some(({ key }) => key === view.model);
      if (!known) throw new Error("it names an unknown model");
    } catch (error) {
      [view, complaint] = [{}, error.message];
    }
    await this.load(view.model ?? this.models[0].key, view, complaint);
  }

  async load(key, view = {}, complaint = "") {
    this.stop();
    const choice = this.models.find((model) => model.key === key);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      this.opened ??= new Map();
      if (!this.opened.has(key)) this.opened.set(key, new Model(await contentOf(choice.model, this.abort.signal)));
    } catch (error) {
      if (this.destroyed || turn !== this.turn) return;
      if (this.model) this.build(); // the choice of models shows the present one again
      else this.body.replaceChildren();
      this.draw();
      const retry = () => this.load(key, view, complaint);
      this.complain(`“${choice.label}” could not be opened: ${error.message}.`, "Try again", retry);
      return;
    }
    if (this.destroyed || turn !== this.turn) return; // another model was chosen in the meantime
    [this.key, this.model] = [key, this.opened.get(key)];
    this.show(view, complaint);
  }

  show(view, complaint) {
    this.notice.hidden = true;
    try {
      this.restore(view);
    } catch (error) {
      complaint = error.message;
      this.restore({});
    }
    this.build();
    if (complaint) this.complain(`This link could not be read: ${complaint}. Here is the default view.`);
    this.draw();
    this.warm();
  }

  complain(text, action, retry) {
    const again = () => {
      this.notice.hidden = true;
      retry();
    };
    this.notice.replaceChildren(h("p", {}, text), action ? button(action, again) : "");
    this.notice.hidden = false;
  }

  /** Set the state from a view. Throws an error if the view does not fit the model, and then changes nothing. */
  restore(view) {
    const { header, arrays } = this.model;
    const angles = arrays.angles.values, n = header.n_bits;
    if (view.reference && view.reference.length !== angles.length) throw new Error(`it must have ${angles.length} angles`);
    if (view.bits && view.bits.length !== n) throw new Error(`it must have ${n} bits`);
    const gates = [view.gate ?? 0, ...(view.offsets ?? []).map(([k]) => k)];
    if (gates.some((k) => k >= angles.length)) throw new Error("it names an unknown gate");
    const image = view.image ?? { kind: "test", number: 0 };
    if (image.kind === "test" && image.number >= arrays.labels.values.length) throw new Error("it names an unknown test digit");
    this.reference = view.reference ?? angles;
    this.scale = view.scale ?? 1;
    this.offsets = new Float64Array(angles.length);
    for (const [k, value] of view.offsets ?? []) this.offsets[k] = value;
    this.breaks = view.breaks ?? { reversed: false, product: false, short: false };
    [this.gate, this.shots, this.seed] = [view.gate ?? header.n_qubits, view.shots ?? 0, view.seed ?? 0];
    [this.fit, this.strokes] = [null, []];
    this.settings ??= { optimizer: "adam", start: "random", budget: 300 };
    this.setImage(image);
    if (view.bits) this.bits = Uint8Array.from(view.bits, Number);
  }

  /** The view of the present state, for `viewToText`. */
  view() {
    const { key: model, image, scale, offsets, gate, shots, seed, breaks } = this;
    const reference = this.reference === this.model.arrays.angles.values ? null : this.reference;
    return { model, image, bits: this.bits.join(""), reference, scale, offsets, gate, shots, seed, breaks };
  }

  save() {
    if (!this.options.share) return;
    clearTimeout(this.saving);
    this.saving = setTimeout(() => history.replaceState(null, "", `#${viewToText(this.view())}`), 250);
  }

  async copyLink() {
    history.replaceState(null, "", `#${viewToText(this.view())}`);
    try {
      await navigator.clipboard.writeText(location.href);
      this.say("The link is copied.", true);
    } catch {
      this.say("Copy the link from the address bar.", true);
    }
  }

  /** Announce a change to screen readers, after the last of several quick ones. */
  say(text, visible = false) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => setText(this.status, text), 300);
    if (visible) setText(this.ui.copied, text);
  }

  // --- state ---

  /** The angles in use: the reference angles times the scale, plus what single sliders have added. */
  angles() {
    return this.reference.map((angle, k) => this.scale * angle + this.offsets[k]);
  }

  /** Set all angles, in milliradians like those in an address, so that a link restores exactly what is shown. */
  setAngles(angles, scale = 1) {
    const trained = this.model.arrays.angles.values, reference = angles === trained ? trained : angles.map(toMilliradians);
    [this.reference, this.scale, this.offsets] = [reference, scale, new Float64Array(reference.length)];
    this.redraw();
  }

  setImage(image) {
    this.image = image;
    this.pixels = image.kind === "test" ? this.model.example(image.number) : image.pixels ?? null;
    const encoded = this.pixels && this.model.encode(this.pixels);
    this.logits = encoded?.logits ?? null;
    this.bits = encoded?.bits ?? this.bits ?? new Uint8Array(this.model.header.n_bits);
    if (this.bits.length !== this.model.header.n_bits) this.bits = new Uint8Array(this.model.header.n_bits);
  }

  showImage(image) {
    if (image.kind !== "drawing") this.strokes = [];
    this.setImage(image);
    this.redraw();
    const shown = { none: "The drawing is empty.", drawing: "Your drawing", test: `A test digit, ${this.label()}` }[image.kind];
    this.say(image.kind === "none" ? shown : `${shown}: code ${codeText(this.bits)}.`);
  }

  label() {
    return this.image.kind === "test" ? this.model.arrays.labels.values[this.image.number] : null;
  }

  setBits(bits, text) {
    this.bits = bits;
    this.redraw();
    this.say(text ?? `Code ${codeText(bits)}.`);
  }

  flip(q) {
    const bits = this.bits.map((bit, i) => (i === q ? 1 - bit : bit));
    this.setBits(bits, `Bit ${q} is now ${bits[q]}. Code ${codeText(bits)}.`);
  }

  /** The code that the generator receives for a code that the circuit samples. */
  received(index) {
    return this.breaks.reversed ? reverseBits(index, this.model.header.n_bits) : index;
  }

  /** The simulated circuit, and the positions of its angles among all angles of the model. */
  activeCircuit() {
    this.circuits ??= new Map();
    const name = `${this.key} ${this.breaks.product}`;
    if (!this.circuits.has(name)) {
      const circuit = this.model.circuit(!this.breaks.product);
      const positions = this.model.circuit().gates.flatMap((gate, k) => (this.breaks.product && gate.name === "RXX" ? [] : [k]));
      this.circuits.set(name, { circuit, positions });
    }
    return this.circuits.get(name);
  }

  /** Exact probabilities, estimated frequencies (null without shots) and samples at the present angles. */
  measure() {
    const { circuit, positions } = this.activeCircuit(), angles = this.angles();
    const exact = circuit.probabilities(positions.map((k) => angles[k]));
    const name = `${this.seed} ${this.shots}`;
    if (this.random?.name !== name) { // the same random numbers at all angles, so that samples change smoothly
      const next = uniformGenerator(this.seed);
      const samples = Float64Array.from({ length: N_SAMPLES }, next);
      this.random = { name, samples, shots: Float64Array.from({ length: this.shots }, next).sort() };
    }
    const estimated = this.shots ? frequenciesOfShots(exact, this.random.shots) : null;
    return { exact, estimated, samples: sampleIndices(exact, this.random.samples) };
  }

  // --- fit ---

  startAngles() {
    const n = this.reference.length;
    if (this.settings.start === "zero") return new Float64Array(n);
    return this.settings.start === "random" ? normals(n, SPREAD, uniformGenerator(this.seed + 1)) : this.angles();
  }

  budget() {
    return this.breaks.short ? BUDGETS[0] : this.settings.budget;
  }

  toggleFit() {
    if (this.running) {
      this.stop();
    } else {
      if (!this.fit || this.fit.done) this.newFit();
      this.running = true;
    }
    this.redraw();
  }

  newFit() {
    const { circuit, positions } = this.activeCircuit(), start = this.startAngles();
    this.setAngles(start);
    this.fit = new Fit(circuit, this.model.frequencies, Float64Array.from(positions, (k) => start[k]), {
      optimizer: this.settings.optimizer, budget: this.budget(), epsilon: this.model.header.epsilon,
      shots: this.settings.optimizer === "spsa" ? this.shots : 0, random: uniformGenerator(this.seed + 2),
    });
  }

  /** Stop the fit, and forget it if its angles or its circuit are no longer those that are shown. */
  stop(forget = false) {
    this.running = false;
    if (forget && this.fit && !this.fit.done) this.fit.done = true;
  }

  resetFit() {
    this.stop();
    this.fit = null;
    this.setAngles(this.startAngles());
  }

  /** Advance the fit within one frame: slow enough to watch, and never so long that the page hesitates. */
  advanceFit() {
    const { fit } = this, end = performance.now() + 12, most = Math.ceil(fit.budget / 300);
    if (this.still && performance.now() < (this.nextPicture ?? 0)) return false; // reduced motion
    this.nextPicture = performance.now() + 500;
    for (let i = 0; i < (this.still ? 30 * most : most) && !fit.done && performance.now() < end; i++) fit.advance();
    const { positions } = this.activeCircuit(), all = this.angles();
    positions.forEach((k, i) => (all[k] = fit.angles[i]));
    this.setAngles(all);
    if (fit.done) {
      this.running = false;
      this.say(this.fitText());
    }
    return true;
  }

  fitText() {
    const { fit } = this, lowest = entropy(this.model.frequencies);
    if (!fit?.costs.length) return `Budget: ${counted(fit?.budget ?? this.budget())} evaluations. Press “Start”.`;
    const cost = fit.done ? fit.bestCost : fit.costs.at(-1), above = cost - lowest;
    const count = `${counted(fit.costs.length)} of ${counted(fit.budget)} evaluations`;
    const still = fit.optimizer instanceof Adam && fit.costs.length > 1 && fit.costs[0] - fit.bestCost < 1e-9;
    const saddle = still ? " At angles 0 every derivative is 0, so Adam does not move. Try SPSA or random angles." : "";
    const name = fit.done ? "Best cost" : "Cost";
    return `${count}. ${name}: ${cost.toFixed(3)} nats, ${above.toFixed(3)} above the entropy of the data.${saddle}`;
  }
  // --- redrawing ---

  /** Build the page of the present model. */
  build() {
    [this.ui, this.chartWidth] = [{}, 0];
    this.parts = [drawSection, circuitSection].map((section) => section(this));
    this.body.replaceChildren(toolbar(this), ...this.parts.map(({ element }) => element));
  }

  /** Ask for a drawing in the next frame, after a change of the state. */
  redraw() {
    this.save();
    this.request();
  }

  request() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.frame());
  }

  frame() {
    this.waiting = 0;
    const moved = this.running && this.advanceFit();
    if (moved || !this.running || !this.still) this.draw();
    if (this.running) this.request();
  }

  /** Draw everything at once. */
  draw() {
    if (!this.parts) return;
    const measured = this.measure();
    this.parts.forEach(({ update }) => update(measured));
  }

  /** Generate the images of likely codes in idle time, so that later changes are smooth. */
  warm() {
    const { model } = this, { frequencies } = model;
    const codes = Array.from(frequencies.keys()).sort((a, b) => frequencies[b] - frequencies[a]);
    const later = window.requestIdleCallback ?? ((act) => setTimeout(act, 20));
    let next = 0;
    const some = (deadline) => {
      const end = performance.now() + Math.min(15, deadline?.timeRemaining() ?? 5);
      while (next < codes.length && performance.now() < end) model.decode(codes[next++]);
      if (next < codes.length && model === this.model && !this.destroyed) later(some);
    };
    later(some);
  }

  /** Follow the theme of the page or of the system, and the wish for reduced motion. */
  watchTheme() {
    const { signal } = this.abort;
    const dark = matchMedia("(prefers-color-scheme: dark)"), still = matchMedia("(prefers-reduced-motion: reduce)");
    const read = () => {
      this.still = still.matches;
      const style = getComputedStyle(this.root);
      const color = (name) => style.getPropertyValue(`--ql-${name}`).trim();
      this.colors = Object.fromEntries(COLORS.map((name) => [name, color(name)]));
      if (this.model) this.request();
    };
    for (const query of [dark, still]) query.addEventListener("change", read, { signal });
    this.observer = new MutationObserver(read);
    this.observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.sizes = new ResizeObserver(() => {
      this.chartWidth = 0; // the curve is drawn for its width
      if (this.model) this.request();
    });
    this.sizes.observe(this.root);
    read();
  }
}

// --- parts of the page: functions that return {element, update}; update draws what has been measured ---

function toolbar(lab) {
  const { models, options, key } = lab;
  const choose = choice(lab, "Model", models.map((model) => [model.key, model.label]), key, async (value) => {
    await lab.load(value);
    lab.redraw();
  });
  lab.ui.copied = h("span", { class: "ql-note" });
  return h("div", { class: "ql-toolbar" },
    models.length > 1 ? choose.element : note(models[0].label),
    options.share ? row(lab.ui.copied, button("Copy link to this view", () => lab.copyLink())) : null);
}

function section(lab, title, text, page, ...children) {
  const link = lab.options.notebooks && page
    ? h("a", { href: `${lab.options.notebooks}${page[0]}.html` }, page[1]) : null;
  return h("section", { "aria-label": title }, h("h2", {}, title),
    h("p", { class: "ql-lead" }, text, link ? " " : "", link ?? ""), ...children);
}

/** Radio buttons in a row; returns {element, set(value)}. */
function choice(lab, title, items, value, change) {
  const name = `ql${lab.id}-${title.replaceAll(" ", "-")}`;
  const inputs = items.map(([key, label]) => {
    const input = h("input", { type: "radio", name, value: key, onchange: () => change(key) });
    input.checked = key === value;
    return h("label", {}, input, h("span", {}, label));
  });
  const element = h("fieldset", { class: "ql-choice" }, h("legend", {}, title), h("div", {}, inputs));
  return { element, set: (key) => inputs.forEach(({ firstChild }) => (firstChild.checked = firstChild.value === String(key))) };
}

/** A slider with its name and value above; returns {element, show(value, text, name)}. */
function slider(label, { min, max, step }, change) {
  const input = h("input", { type: "range", min, max, step, "aria-label": label, oninput: () => change(Number(input.value)) });
  const output = h("span", {}), name = h("span", {}, label);
  const show = (value, text, title = label) => {
    if (Number(input.value) !== value) input.value = value;
    setText(output, text);
    setText(name, title);
    setAttribute(input, "aria-label", title);
    setAttribute(input, "aria-valuetext", text);
  };
  return { element: h("div", { class: "ql-slider" }, name, output, input), show };
}

function picture(width, height, className = "") {
  return h("canvas", { width, height, class: className, role: "img" });
}

const painted = new WeakMap(); // what a canvas shows: it is not painted again

/** Paint images (784,) of brightness in [0, 1] in rows, in the color of the text; null leaves a gap. */
function paintDigits(lab, canvas, images, columns = 1, gap = 0) {
  const before = painted.get(canvas), { ink } = lab.colors;
  if (before?.ink === ink && before.images.every((image, i) => image === images[i])) return;
  painted.set(canvas, { ink, images });
  const { width, height } = canvas, cell = 28 + gap;
  const data = new ImageData(width, height), pixels = new Uint32Array(data.data.buffer);
  images.forEach((image, i) => {
    const start = Math.floor(i / columns) * cell * width + (i % columns) * cell, inked = image && withInk(image, ink);
    for (let y = 0; inked && y < 28; y++) pixels.set(inked.subarray(28 * y, 28 * y + 28), start + y * width);
  });
  canvas.getContext("2d").putImageData(data, 0, 0);
}

const inkedImages = new WeakMap();

/** The pixels (784,) of an image in a color, with the brightness as opacity. */
function withInk(image, ink) {
  const cached = inkedImages.get(image);
  if (cached?.ink === ink) return cached.pixels;
  const [r, g, b] = rgb(ink), color = r | (g << 8) | (b << 16);
  const pixels = Uint32Array.from(image, (value) => color | (Math.round(255 * value) << 24));
  inkedImages.set(image, { ink, pixels });
  return pixels;
}

function rgb(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

/** Mix colors "#rrggbb" linearly at t in [0, 1]: [r, g, b]. */
function mix(colors, t) {
  const position = Math.min(1, Math.max(0, t)) * (colors.length - 1), i = Math.min(colors.length - 2, Math.floor(position));
  const [low, high] = [rgb(colors[i]), rgb(colors[i + 1])];
  return low.map((value, channel) => Math.round(value + (position - i) * (high[channel] - value)));
}

const colorTables = new Map();

/** Return 256 colors from the first to the last one, as pixels. */
function colorTable(colors) {
  const name = colors.join();
  if (!colorTables.has(name)) {
    colorTables.set(name, Uint32Array.from({ length: 256 }, (_, i) => {
      const [r, g, b] = mix(colors, i / 255);
      return r | (g << 8) | (b << 16) | (255 << 24);
    }));
  }
  return colorTables.get(name);
}

function drawSection(lab) {
  const pad = drawingPad(lab), recall = picture(28, 28, "ql-large"), seen = picture(28, 28, "ql-seen");
  const tiles = Array.from(lab.bits, (_, q) => bitTile(lab, q)), words = texts(lab.model);
  const caption = h("p", { class: "ql-caption" }), codeLine = h("p", { class: "ql-caption ql-code" });
  const column = (title, ...children) => h("div", { class: "ql-column" }, h("h3", {}, title), children);
  const element = section(lab, "Draw a digit", words.draw, ["06_a_prior_with_a_job", "Notebook 6 explains the encoder."],
    h("div", { class: "ql-flow" },
      column("Draw here", pad.element, h("div", { class: "ql-seen-row" }, seen, caption)),
      column("Its bits", h("div", { class: "ql-tiles" }, tiles.map((tile) => tile.element)), note(words.bits)),
      column("What the model recalls", h("div", { class: "ql-frame" }, recall), codeLine)));
  const update = () => {
    const code = codeText(lab.bits), what = imageText(lab);
    pad.update();
    paintDigits(lab, seen, [lab.pixels]);
    paintDigits(lab, recall, [lab.model.decode(lab.bits)]);
    tiles.forEach((tile) => tile.update());
    setText(caption, what);
    setText(codeLine, `Code ${code}`);
    setAttribute(seen, "aria-label", `What the encoder receives. ${what}`);
    setAttribute(recall, "aria-label", `The digit that the generator makes from code ${code}`);
  };
  return { element, update };
}

function imageText(lab) {
  if (lab.image.kind === "none") return "Draw a digit first, or show a test digit.";
  if (lab.image.kind === "drawing") return "Your drawing, fitted and centered like the digits of MNIST.";
  return `A test digit: ${lab.label()}. The networks were not trained on it.`;
}

/** The canvas for strokes, with its buttons. */
function drawingPad(lab) {
  const canvas = picture(280, 280, "ql-pad"), context = canvas.getContext("2d");
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(280 * (event.clientX - box.left)) / box.width, (280 * (event.clientY - box.top)) / box.height];
  };
  const show = () => {
    const pixels = drawLikeMnist(lab.strokes);
    lab.showImage(pixels ? { kind: "drawing", pixels } : { kind: "none" });
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    lab.pointer = event.pointerId;
    lab.strokes.push([point(event)]);
    show();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (lab.pointer !== event.pointerId) return;
    lab.strokes.at(-1)?.push(...(event.getCoalescedEvents?.() ?? [event]).map(point));
    lab.unseen ??= requestAnimationFrame(() => { // one drawing per frame, however fast the pointer reports
      lab.unseen = undefined;
      show();
    });
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (lab.pointer = null));
  const nextExample = () => {
    const number = lab.image.kind === "test" ? lab.image.number + 1 : 0;
    lab.showImage({ kind: "test", number: number % lab.model.arrays.labels.values.length });
  };
  const hint = h("span", { class: "ql-hint ql-note" }, "Draw a digit, for example a 7");
  const element = h("div", {}, h("div", { class: "ql-frame" }, canvas, hint),
    row(button("Clear", () => lab.showImage({ kind: "none" })), button("Show a test digit", nextExample)));
  const update = () => {
    if (!lab.strokes.length) {
      if (canvas.width !== 28) canvas.width = canvas.height = 28;
      paintDigits(lab, canvas, [lab.pixels]);
    } else {
      canvas.width = canvas.height = 280;
      painted.delete(canvas);
      paintStrokes(context, lab.strokes, lab.colors.ink);
    }
    setAttribute(canvas, "aria-label", lab.pixels ? "Drawing area, with a digit" : "Drawing area, empty");
    hint.hidden = Boolean(lab.pixels);
  };
  return { element, update };
}

function paintStrokes(context, strokes, color) {
  Object.assign(context, { strokeStyle: color, lineWidth: 24, lineCap: "round", lineJoin: "round" });
  for (const [first, ...others] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    for (const point of others.length ? others : [first]) context.lineTo(...point);
    context.stroke();
  }
}

function bitTile(lab, q) {
  const value = h("span", { class: "ql-value" }), logit = h("span", { class: "ql-logit" }, h("i"));
  const flipped = h("canvas", { width: 28, height: 28, "aria-hidden": "true" });
  const element = h("button", { type: "button", class: "ql-tile", onclick: () => lab.flip(q) },
    h("span", { class: "ql-name" }, `bit ${q}`), value, logit, flipped);
  const update = () => {
    const bit = lab.bits[q], strength = lab.logits?.[q];
    setText(value, String(bit));
    setAttribute(element, "aria-pressed", bit === 1);
    const read = strength === undefined ? "" : `, logit ${strength.toFixed(1)}`;
    setAttribute(element, "aria-label", `Bit ${q}: ${bit}${read}. Flip it`);
    const length = Math.min(1, Math.abs(strength ?? 0) / 6) * 50;
    logit.firstChild.style.cssText = `width:${length}%;left:${strength < 0 ? 50 - length : 50}%`;
    paintDigits(lab, flipped, [lab.model.decode(toIndex(lab.bits) ^ (1 << q))]);
  };
  return { element, update };
}

function circuitSection(lab) {
  const parts = [gatePart, distributionPart, fitPart, breakPart].map((part) => part(lab)), words = texts(lab.model);
  const [gates, distribution, fit, breaks] = parts.map(({ element }) => element);
  const element = h("div", { class: "ql-two" },
    section(lab, "Turn the angles of the circuit", words.circuit, ["03_qcbm_circuit", "Notebook 3 explains the gates."], gates),
    h("div", { class: "ql-aside" }, section(lab, "What the circuit samples", words.samples, null, distribution)),
    section(lab, "Fit the circuit", words.fit, ["04_qcbm_cobyla", "Notebook 4 explains the fit."], fit),
    section(lab, "Break it", words.breaks, ["11_break_it", "Notebook 11 has more faults."], breaks));
  return { element, update: (measured) => parts.forEach(({ update }) => update(measured)) };
}

/** The gates of one layer in a grid; the selected gate's angle has a slider. */
function gatePart(lab) {
  const { header, arrays } = lab.model, { gates } = lab.model.circuit(), trained = arrays.angles.values;
  const scale = slider("All angles", { min: 0, max: 1, step: 0.01 }, (value) => {
    lab.stop(true);
    lab.scale = value;
    lab.redraw();
  });
  const angle = slider("Angle", { min: -3.15, max: 3.15, step: 0.01 }, (value) => {
    lab.stop(true);
    lab.offsets[lab.gate] = toMilliradians(value - lab.scale * lab.reference[lab.gate]);
    lab.redraw();
  });
  const preset = (text, angles, factor) => button(text, () => {
    lab.stop(true);
    lab.setAngles(angles(), factor);
    lab.say(`Angles: ${text}.`);
  });
  const grid = gateGrid(lab, gates), hint = note("");
  const step = (by) => grid.select((lab.gate + by + gates.length) % gates.length);
  const perLayer = gates.length / header.layers, numbers = Array.from({ length: header.layers }, (_, i) => [i, String(i + 1)]);
  const toLayer = (layer) => grid.select(layer * perLayer + (lab.gate % perLayer));
  const layers = choice(lab, "Layer", numbers, gates[lab.gate].layer, toLayer);
  const update = () => {
    const gate = gates[lab.gate], angles = lab.angles(), value = wrapAngle(angles[lab.gate]);
    layers.set(gate.layer);
    grid.update(angles);
    angle.show(Math.round(100 * value) / 100, `${value.toFixed(2).replace("-", "−")} rad`, `Angle of ${gateName(gate)}`);
    const full = lab.reference === trained ? "trained" : "as set";
    scale.show(lab.scale, `× ${lab.scale.toFixed(2)}`, `All angles (0: uniform, 1: ${full})`);
    setText(hint, gateHint(gate, header, lab.breaks.product));
  };
  const random = () => normals(gates.length, 1, Math.random);
  const element = h("div", {}, scale.element,
    row(preset("trained", () => trained, 1), preset("zero", () => trained, 0), preset("random", random, 1)),
    layers.element, grid.element, angle.element,
    row(button("‹ Previous gate", () => step(-1)), button("Next gate ›", () => step(1))), hint);
  return { element, update };
}

function gateHint({ name, layer }, { warm_start }, product) {
  if (warm_start && layer === 0 && name === "RX") {
    return "RX gates of the first layer change nothing: they act on eigenstates of RX, which the Hadamard gates prepare.";
  }
  if (product && name === "RXX") return "The entangling gates are removed by a switch below.";
  return "Color shows the angle: blue is negative, orange is positive. Select a gate to change its angle.";
}

/** The gates of a layer as radio buttons: RX and RZ per qubit, RXX in the row and the column of its qubits. */
function gateGrid(lab, gates) {
  const n = lab.model.header.n_qubits, element = h("div", { role: "radiogroup", class: "ql-gates", style: `--n:${n}` });
  let cells = [], shown = -1;
  const select = (k, focus = false) => {
    lab.gate = k;
    lab.draw();
    lab.save();
    if (focus) cells.find((cell) => cell.k === k).element.focus();
  };
  const fill = (layer) => {
    shown = layer;
    cells = gates.flatMap((gate, k) => (gate.layer === layer ? [gateCell(gate, k, select)] : []));
    const label = (text, row, column) => h("span", { class: "ql-row-name", style: `grid-area:${row}/${column}` }, text);
    const about = h("p", { class: "ql-note ql-about-gates", style: `grid-area:4/${Math.ceil(n / 2) + 2}/8/-1` },
      "A gate RXX acts on two qubits: those of its row and its column.");
    element.replaceChildren(about, ...Array.from({ length: n }, (_, q) => label(String(q), 1, q + 2)),
      ...["RX", "RZ", "RXX 1"].map((name, i) => label(name, i + 2, 1)),
      ...Array.from({ length: Math.max(0, n - 2) }, (_, i) => label(String(i + 2), i + 5, 1)),
      ...cells.map((cell) => cell.element));
    setAttribute(element, "aria-label", `Gates of layer ${layer + 1}`);
  };
  element.addEventListener("keydown", (event) => {
    const by = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = neighbor(cells, cells.find(({ k }) => k === lab.gate), by);
    if (next) select(next.k, true);
  });
  const update = (angles) => {
    if (gates[lab.gate].layer !== shown) fill(gates[lab.gate].layer);
    for (const cell of cells) cell.update(angles[cell.k], cell.k === lab.gate, lab.breaks.product, lab.colors);
  };
  return { element, update, select };
}

function gateName({ name, qubits }) {
  return `${name} on ${qubits.length > 1 ? `qubits ${qubits.join(" and ")}` : `qubit ${qubits[0]}`}`;
}

function gateCell(gate, k, select) {
  const row = gate.name === "RX" ? 2 : gate.name === "RZ" ? 3 : 3 + gate.qubits[1];
  const column = gate.qubits[0] + 2;
  const element = h("button", { type: "button", role: "radio", class: "ql-gate", title: gateName(gate),
    "aria-label": gateName(gate), style: `grid-area:${row}/${column}`, onclick: () => select(k) });
  const update = (angle, selected, inactive, colors) => {
    const value = wrapAngle(angle) / Math.PI, idle = inactive && gate.name === "RXX";
    const color = mix([colors.surface, value < 0 ? colors.accent : colors.warm], idle ? 0 : Math.sqrt(Math.abs(value)));
    element.style.backgroundColor = `rgb(${color})`;
    setAttribute(element, "aria-checked", selected);
    setAttribute(element, "tabindex", selected ? 0 : -1);
    element.classList.toggle("ql-idle", idle);
  };
  return { k, row, column, element, update };
}

/** The nearest cell in a direction [rows, columns]. */
function neighbor(cells, from, [rows, columns]) {
  const steps = (cell) => (rows ? (cell.row - from.row) * rows : (cell.column - from.column) * columns);
  const inLine = (cell) => (rows ? cell.column === from.column : cell.row === from.row);
  return cells.filter((cell) => inLine(cell) && steps(cell) > 0).sort((a, b) => steps(a) - steps(b))[0];
}

/** The probabilities as a heat map, the frequencies of shots next to it, and samples with their digits. */
function distributionPart(lab) {
  const n = lab.model.header.n_bits, side = 2 ** Math.ceil(n / 2), height = (512 * 2 ** Math.floor(n / 2)) / side;
  const exact = picture(512, height, "ql-heat"), shots = picture(512, height, "ql-heat"), legend = heatLegend();
  const samples = picture(8 * 30, 2 * 30, "ql-samples"), about = h("p", { class: "ql-caption" }), probe = note("");
  const estimate = h("figure", {}, shots, h("figcaption", {}));
  const items = SHOTS.map((count) => [count, count ? counted(count) : "exact"]);
  const choose = choice(lab, "Shots", items, lab.shots, (count) => {
    lab.shots = count;
    lab.redraw();
    lab.say(count ? `Estimated from ${count} shots.` : "Exact probabilities.");
  });
  const again = button("Sample other codes", () => {
    lab.seed = (lab.seed + 1) % 65536;
    lab.redraw();
    lab.say("Other codes are sampled.");
  });
  let latest;
  probeCodes(exact, side, (code) => {
    const p = latest?.exact[code], ratio = p * lab.model.codes;
    setText(probe, code === null ? "Each cell is one code. Select a cell to see its digit above."
      : `Code ${codeText(toBits(code, n))}: probability ${percent(p)}, ${ratio.toFixed(1)} × uniform.`);
  }, (code) => lab.setBits(toBits(lab.received(code), n)));
  const update = (measured) => {
    latest = measured;
    const { colors } = lab, heat = [colors.heat0, colors.heat1, colors.heat2], text = distributionText(measured.exact, n);
    const largest = measured.exact.length * measured.exact.reduce((a, b) => Math.max(a, b));
    const peak = Math.max(8, 2 ** Math.ceil(Math.log2(largest - 1e-9))); // a power of 2, so that colors rarely change
    paintHeat(exact, measured.exact, side, peak, heat);
    circle(exact, measured.samples, side, colors.warm);
    estimate.hidden = !measured.estimated;
    if (measured.estimated) paintHeat(shots, measured.estimated, side, peak, heat);
    setText(estimate.lastChild, `estimated from ${counted(lab.shots)} shots`);
    setAttribute(shots, "aria-label", `Frequencies of all codes in ${lab.shots} shots`);
    legend.update(peak, heat);
    paintSamples(lab, samples, measured.samples);
    setText(about, text);
    setAttribute(exact, "aria-label", `Probabilities of all codes. ${text}`);
  };
  const element = h("div", { class: "ql-distribution" },
    h("div", { class: "ql-heats" }, h("figure", {}, exact, h("figcaption", {}, "exact probabilities")), estimate),
    legend.element, about, probe, choose.element, h("h3", {}, `${N_SAMPLES} sampled codes and their digits`), samples, again);
  return { element, update };
}

function heatLegend() {
  const canvas = h("canvas", { width: 256, height: 1, class: "ql-legend", "aria-hidden": "true" });
  const most = h("span"), uniform = h("span", { class: "ql-uniform" }, "uniform");
  const element = h("div", { class: "ql-scale" }, canvas, h("div", {}, h("span", {}, "0"), uniform, most));
  const update = (peak, colors) => {
    paintHeat(canvas, Float64Array.from({ length: 256 }, (_, i) => (i / 255) ** 2), 256, 256, colors);
    setText(most, `${peak} × uniform`);
    uniform.style.left = `${100 / Math.sqrt(peak)}%`;
  };
  return { element, update };
}

/** Report the code under the pointer, null outside, and the code that is selected. */
function probeCodes(canvas, side, show, choose) {
  const codeAt = (event) => {
    const box = canvas.getBoundingClientRect(), rows = Math.round((side * canvas.height) / canvas.width);
    const cell = (fraction, count) => Math.min(count - 1, Math.max(0, Math.floor(fraction * count)));
    return cell((event.clientX - box.left) / box.width, side) + side * cell((event.clientY - box.top) / box.height, rows);
  };
  canvas.addEventListener("pointermove", (event) => show(codeAt(event)));
  canvas.addEventListener("pointerleave", () => show(null));
  canvas.addEventListener("click", (event) => choose(codeAt(event)));
  show(null);
}

const smallCanvases = new WeakMap(); // with one pixel per cell of a heat map

/** Paint numbers p(x) as cells; the color grows with the square root of p, and is full at `peak` times uniform. */
function paintHeat(canvas, p, side, peak, colors) {
  const rows = p.length / side, context = canvas.getContext("2d"), data = new ImageData(side, rows);
  const pixels = new Uint32Array(data.data.buffer), table = colorTable(colors);
  for (let x = 0; x < p.length; x++) pixels[x] = table[Math.min(255, Math.round(255 * Math.sqrt((p[x] * p.length) / peak)))];
  if (!smallCanvases.has(canvas)) smallCanvases.set(canvas, h("canvas", { width: side, height: rows }));
  const small = smallCanvases.get(canvas);
  small.getContext("2d").putImageData(data, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function circle(canvas, samples, side, color) {
  const context = canvas.getContext("2d"), cell = canvas.width / side;
  Object.assign(context, { strokeStyle: color, lineWidth: 3 });
  for (const x of samples) {
    context.beginPath();
    context.arc(((x % side) + 0.5) * cell, (Math.floor(x / side) + 0.5) * cell, Math.max(6, cell / 3), 0, 2 * Math.PI);
    context.stroke();
  }
}

/** Paint the digits of samples. Images that take longer than a frame follow in the next one. */
function paintSamples(lab, canvas, samples) {
  const end = performance.now() + 10, codes = Array.from(samples, (index) => lab.received(index));
  const images = codes.map((code) => (lab.model.images.has(code) || performance.now() < end ? lab.model.decode(code) : null));
  if (images.includes(null)) lab.request();
  paintDigits(lab, canvas, images, 8, 2);
  const list = codes.map((code) => codeText(toBits(code, lab.model.header.n_bits))).join("; ");
  setAttribute(canvas, "aria-label", `Digits of ${codes.length} sampled codes: ${list}`);
}

function distributionText(p, n) {
  const best = p.indexOf(p.reduce((a, b) => Math.max(a, b))), ratio = p[best] * p.length;
  if (ratio < 1 + 1e-6) return `All ${counted(p.length)} codes are equally likely.`;
  const bits = (entropy(p) / Math.LN2).toFixed(2);
  return `Most likely: ${codeText(toBits(best, n))}, ${ratio.toFixed(1)} × uniform. Entropy: ${bits} of ${n} bits.`;
}

function fitPart(lab) {
  const chart = picture(600, 200, "ql-chart"), about = h("p", { class: "ql-caption" });
  const strip = picture(8 * 30, 2 * 30, "ql-samples ql-strip");
  const start = button("Start", () => lab.toggleFit());
  start.classList.add("ql-primary");
  const setting = (title, name, items) => choice(lab, title, items, lab.settings[name], (value) => {
    lab.settings[name] = value;
    lab.stop(true);
    lab.redraw();
  });
  const optimizers = [["adam", "Adam (exact gradient)"], ["spsa", "SPSA (with the chosen shots)"]];
  const optimizer = setting("Optimizer", "optimizer", optimizers);
  const first = setting("Start", "start", [["random", "random angles"], ["zero", "zero"], ["current", "as shown"]]);
  const budget = setting("Evaluations", "budget", BUDGETS.map((count) => [count, counted(count)]));
  const element = h("div", {}, h("div", { class: "ql-settings" }, [optimizer, first, budget].map((each) => each.element)),
    row(start, button("Reset", () => lab.resetFit())), chart, about, strip);
  const update = ({ samples }) => {
    const text = lab.fitText();
    setText(start, lab.running ? "Pause" : lab.fit && !lab.fit.done ? "Continue" : "Start");
    budget.element.disabled = lab.breaks.short;
    budget.set(lab.budget());
    setText(about, text);
    paintChart(lab, chart);
    paintSamples(lab, strip, samples);
    setAttribute(chart, "aria-label", `Cost per evaluation. ${text}`);
  };
  return { element, update };
}

/** Draw the costs of a fit, with the entropy of the data and the cost of the uniform distribution as references. */
function paintChart(lab, canvas) {
  const ratio = Math.min(2, devicePixelRatio || 1), height = 200;
  const width = (lab.chartWidth ||= canvas.clientWidth || 600); // to ask for it in every frame would take long
  const context = canvas.getContext("2d"), { colors, fit, model } = lab;
  const name = [width, ratio, colors.accent, lab.budget(), fit?.costs.length, fit?.costs[0]].join();
  if (painted.get(canvas) === name) return;
  painted.set(canvas, name);
  [canvas.width, canvas.height] = [Math.round(width * ratio), height * ratio]; // this clears the canvas
  context.scale(ratio, ratio);
  const lowest = entropy(model.frequencies), highest = Math.log(model.codes), costs = fit?.costs ?? [];
  const budget = fit?.budget ?? lab.budget(), top = Math.max(highest, Math.min(costs[0] ?? 0, 2 * highest)) + 0.15;
  const bottom = lowest - 0.25, x = (i) => 4 + (i / budget) * (width - 8);
  const y = (cost) => 8 + ((top - Math.min(cost, top)) / (top - bottom)) * (height - 30);
  Object.assign(context, { font: "12px system-ui, sans-serif", strokeStyle: colors.muted, fillStyle: colors.muted });
  context.setLineDash([5, 4]);
  line(context, [[4, y(lowest)], [width, y(lowest)]]);
  line(context, [[4, y(highest)], [width, y(highest)]]);
  context.setLineDash([]);
  context.fillText("evaluations", 4, height - 4);
  context.textAlign = "right";
  context.fillText(`entropy of the data: ${lowest.toFixed(2)} nats`, width - 4, y(lowest) + 15);
  context.fillText(`uniform distribution: ${highest.toFixed(2)} nats`, width - 4, y(highest) - 5);
  context.fillText(counted(budget), width - 4, height - 4);
  Object.assign(context, { strokeStyle: colors.accent, lineWidth: 2 });
  line(context, costs.map((cost, i) => [x(i + 1), y(cost)]));
}

function line(context, points) {
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  context.stroke();
}

function breakPart(lab) {
  const switches = Object.entries(BREAKS).map(([name, [title, text]]) => {
    const input = h("input", { type: "checkbox", role: "switch", onchange: () => {
      lab.breaks = { ...lab.breaks, [name]: input.checked };
      lab.stop(true);
      lab.redraw();
      lab.say(`${title}: ${input.checked ? "on" : "off"}.`);
    } });
    input.checked = lab.breaks[name];
    return h("label", { class: "ql-switch" }, input, h("span", {}, h("strong", {}, title), h("small", {}, text)));
  });
  return { element: h("div", { class: "ql-breaks" }, switches), update() {} };
}

/** Return the content of a model: an ArrayBuffer as it is, or what is at an address. */
async function contentOf(model, signal) {
  if (typeof model !== "string") return model;
  let answer;
  try {
    answer = await fetch(model, { signal });
  } catch {
    throw new Error("the server cannot be reached");
  }
  if (!answer.ok) throw new Error(`the server answered ${answer.status} for ${model}`);
  return answer.arrayBuffer();
}
