// Photos and class maps as numbers. The results are those of scrn.SavedModel.predict in Python.

/** The size [height, width] to which the network's input is brought: its short side, or as it is. */
export function inputSize(height, width, shortSide) {
  if (!shortSide) return [height, width];
  const long = Math.floor((shortSide * Math.max(height, width)) / Math.min(height, width));
  return height < width ? [shortSide, long] : [long, shortSide];
}

/**
 * The colours of a photo at another size, by the antialiased bilinear filter of torch and Pillow
 * in their integer arithmetic. A canvas scales by a filter of its own, which moves the labels.
 *
 * @param {Uint8ClampedArray} rgba - the photo's pixels, row by row.
 * @returns {Uint8Array} [3, toHeight, toWidth]: all of the red, then the green, then the blue.
 */
export function resized(rgba, height, width, toHeight, toWidth) {
  const planes = new Uint8Array(3 * toHeight * toWidth);
  const columns = width === toWidth ? null : filter(width, toWidth);
  const rows = height === toHeight ? null : filter(height, toHeight);
  const narrow = new Uint8Array(height * toWidth);
  for (let channel = 0; channel < 3; channel++) {
    const plane = planes.subarray(channel * toHeight * toWidth, (channel + 1) * toHeight * toWidth);
    const target = rows ? narrow : plane;
    if (columns) narrowed(rgba, channel, height, width, target, toWidth, columns);
    else for (let i = 0; i < target.length; i++) target[i] = rgba[4 * i + channel];
    if (rows) shortened(narrow, plane, toHeight, toWidth, rows);
  }
  return planes;
}

function narrowed(
  rgba,
  channel,
  height,
  width,
  target,
  toWidth,
  { starts, counts, weights, most, bits },
) {
  const half = 1 << (bits - 1);
  for (let y = 0, to = 0; y < height; y++) {
    const row = 4 * y * width + channel;
    for (let x = 0; x < toWidth; x++, to++) {
      let sum = half;
      let from = row + 4 * starts[x];
      for (let j = x * most, end = j + counts[x]; j < end; j++, from += 4)
        sum += rgba[from] * weights[j];
      target[to] = Math.min(sum >> bits, 255);
    }
  }
}

function shortened(narrow, plane, toHeight, toWidth, { starts, counts, weights, most, bits }) {
  const half = 1 << (bits - 1);
  const sums = new Int32Array(toWidth);
  for (let y = 0; y < toHeight; y++) {
    sums.fill(half);
    for (let j = 0; j < counts[y]; j++) {
      const weight = weights[y * most + j];
      const from = (starts[y] + j) * toWidth;
      for (let x = 0; x < toWidth; x++) sums[x] += narrow[from + x] * weight;
    }
    for (let x = 0; x < toWidth; x++) plane[y * toWidth + x] = Math.min(sums[x] >> bits, 255);
  }
}

/** Where each result begins to read, how many values, and their weights times 2 ** bits. */
function filter(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const most = 2 * Math.ceil(support) + 1;
  const exact = new Float64Array(to * most);
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  let largest = 0;
  for (let i = 0; i < to; i++) {
    const center = scale * (i + 0.5);
    starts[i] = Math.max(Math.trunc(center - support + 0.5), 0);
    counts[i] = Math.min(Math.trunc(center + support + 0.5), from) - starts[i];
    let total = 0;
    for (let j = 0; j < counts[i]; j++) {
      const distance = Math.abs((starts[i] + j - center + 0.5) / support);
      total += exact[i * most + j] = Math.max(0, 1 - distance);
    }
    for (let j = 0; j < counts[i]; j++) {
      exact[i * most + j] /= total;
      largest = Math.max(largest, exact[i * most + j]);
    }
  }
  // As many bits as keep every weight below 2 ** 15, as torch chooses them.
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits++;
  const weights = Int32Array.from(exact, (weight) => Math.trunc(0.5 + weight * 2 ** bits));
  return { starts, counts, weights, most, bits };
}

/**
 * The classes [toHeight, toWidth] of logits [classes, height, width] that are brought to that size
 * bilinearly. Where the four logits around a pixel have one largest class, so has every mean of
 * them: the others alone are worked out.
 */
export function classMap(logits, classes, height, width, toHeight, toWidth) {
  const coarse = largestClass(logits, classes, height * width);
  if (height === toHeight && width === toWidth) return coarse;
  const labels = new Uint8Array(toHeight * toWidth);
  const rows = between(height, toHeight);
  const columns = between(width, toWidth);
  const plane = height * width;
  for (let y = 0, to = 0; y < toHeight; y++) {
    const above = rows.first[y] * width;
    const below = rows.second[y] * width;
    const down = rows.weight[y];
    for (let x = 0; x < toWidth; x++, to++) {
      const left = columns.first[x];
      const right = columns.second[x];
      const label = coarse[above + left];
      if (
        label === coarse[above + right] &&
        label === coarse[below + left] &&
        label === coarse[below + right]
      ) {
        labels[to] = label;
        continue;
      }
      const across = columns.weight[x];
      let best = -Infinity;
      for (let k = 0, at = 0; k < classes; k++, at += plane) {
        const upper =
          logits[at + above + left] * (1 - across) + logits[at + above + right] * across;
        const lower =
          logits[at + below + left] * (1 - across) + logits[at + below + right] * across;
        const value = upper * (1 - down) + lower * down;
        if (value > best) {
          best = value;
          labels[to] = k;
        }
      }
    }
  }
  return labels;
}

function largestClass(logits, classes, count) {
  const labels = new Uint8Array(count);
  const best = logits.slice(0, count);
  for (let k = 1; k < classes; k++) {
    const offset = k * count;
    for (let i = 0; i < count; i++) {
      if (logits[offset + i] > best[i]) {
        best[i] = logits[offset + i];
        labels[i] = k;
      }
    }
  }
  return labels;
}

/** Between which two of `from` values each of `to` lies, and the second one's weight. */
function between(from, to) {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const weight = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const position = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    first[i] = Math.min(Math.floor(position), from - 1);
    second[i] = Math.min(first[i] + 1, from - 1);
    weight[i] = position - first[i];
  }
  return { first, second, weight };
}
