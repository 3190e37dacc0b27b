"""Mistakes in the attention's Triton kernels and in what launches them."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "scrn_ops/attention/kernels"


CHOSEN = (
    *planted(
        f"{FOLDER}/flash.py",
        (
            "keys of the tail count",
            'scores = tl.where((keys < last)[None, :], scores, float("-inf"))',
            'scores = tl.where((keys < last + BLOCK_M)[None, :], scores, float("-inf"))',
        ),
        (
            "the sum is not rescaled",
            "total = total * rescale + tl.sum(p, axis=1)",
            "total = total + tl.sum(p, axis=1)",
        ),
        ("the output is not rescaled", "v, acc * rescale[:, None])", "v, acc)"),
        (
            "the maximum is that of the last tile",
            "largest = above\n",
            "largest = tl.max(scores, axis=1) * rest\n",
        ),
        ("every split starts at the first key", "first = split * split_keys", "first = 0"),
        (
            "parts merged without their weights",
            "acc += tl.load(parts + offsets, mask=inside, other=0.0) * weight[:, None]",
            "acc += tl.load(parts + offsets, mask=inside, other=0.0)",
        ),
        (
            "parts merged by a natural exponential",
            "weight = tl.exp2(each - largest)",
            "weight = tl.exp(each - largest)",
        ),
        (
            "the unary term in every part",
            "    if SPLIT:\n        part =",
            "    u = tl.load(shared + image * channels + columns, mask=columns < channels)\n"
            "    result += u[None, :]\n    if SPLIT:\n        part =",
        ),
        (
            "the rest of the scale is left out of the exponents",
            "p = tl.exp2(scores * rest - above[:, None])",
            "p = tl.exp2(scores - above[:, None])",
        ),
        (
            "the shared term in what is kept without it",
            "rounded(result, pairwise.dtype.element_ty)",
            "rounded(result + 1e-2, pairwise.dtype.element_ty)",
        ),
        (
            "the unary term forgotten",
            "rounded(result + u[None, :], out.dtype.element_ty)",
            "rounded(result + 0.0 * u[None, :], out.dtype.element_ty)",
        ),
        (
            "the merged log-sum-exp is the maximum",
            "tl.store(log_sum_exp + image * n + rows, largest + tl.log2(total), mask=rows < n)",
            "tl.store(log_sum_exp + image * n + rows, largest, mask=rows < n)",
        ),
    ),
    *planted(
        f"{FOLDER}/split_softmax.py",
        (
            "tiles keep their own reference",
            "p = rounded(p.to(dtype) * tl.exp2(reference - largest)[:, None], v.dtype)",
            "p = rounded(p.to(dtype), v.dtype)",
        ),
        (
            "sums keep their own reference",
            "total += part * tl.exp2(reference - largest)",
            "total += part",
        ),
        (
            "reference of the next tile",
            "tile, mask=here, other=0.0)\n        part",
            "(tile + 1) % tiles, mask=here, other=0.0)\n        part",
        ),
        (
            "chunk written to the first rows",
            "first_image + image, first_row // 16 * 16 + rows,",
            "first_image + image, rows,",
        ),
        (
            "keys of the first image",
            "key += (first_image + image) * m * width",
            "key += image * m * width",
        ),
        (
            "the ends of rows are not written",
            "mask=(rows < rows_here)[:, None] & (keys < pitch)[None, :],\n    )",
            "mask=(rows < rows_here)[:, None] & (keys < m)[None, :],\n    )",
        ),
    ),
    *planted(
        f"{FOLDER}/columns.py",
        (
            "mean over padded rows",
            "channels, splits, SPLITS) / n",
            "channels, splits, SPLITS) / (tl.cdiv(n, BLOCK_N) * BLOCK_N)",
        ),
        (
            "the last part of a sum left out",
            "inside = (each < splits)[:, None] & (columns < channels)[None, :]",
            "inside = (each < splits - 1)[:, None] & (columns < channels)[None, :]",
        ),
        (
            "parts of the first image",
            "offsets = (image * splits + each)[:, None] * channels + columns[None, :]",
            "offsets = each[:, None] * channels + columns[None, :]",
        ),
    ),
    *planted(
        f"{FOLDER}/unary.py",
        (
            "the softmax may overflow",
            'tl.where(top == float("-inf"), 0.0, top)',
            "0.0 * top",
        ),
        (
            "a split without keys makes everything NaN",
            'tl.where(top == float("-inf"), 0.0, top)',
            "top",
        ),
        (
            "splits keep their own reference",
            "factors = tl.where(each < splits, tl.exp(tops_here - top), 0.0)",
            "factors = tl.where(each < splits, 1.0, 0.0)",
        ),
        (
            "weights of the first image",
            "unary + image * unary_stride_b + keys.to(tl.int64) * unary_stride_m,",
            "unary + keys.to(tl.int64) * unary_stride_m,",
        ),
        (
            "gradient without the mean",
            "result = w * (slopes - tl.sum(mean, axis=0))",
            "result = w * slopes",
        ),
    ),
    *planted(
        f"{FOLDER}/gradients.py",
        (
            "scores' gradients without delta",
            "ds = p * (ds - tl.load(delta + row + rows, mask=here, other=0.0)[:, None])",
            "ds = p * ds",
        ),
        (
            "log-sum-exp of the first chunk",
            "tl.load(log_sum_exp + row + rows,",
            "tl.load(log_sum_exp + (first_image + image) * n + rows,",
        ),
        (
            "chunks of keys before forgotten",
            "acc = tl.load(key_sums + offsets, mask=inside & (continued != 0), other=0.0)",
            "acc = tl.load(key_sums + offsets, mask=inside & (continued < 0), other=0.0)",
        ),
        (
            "chunks of values before forgotten",
            "acc = tl.load(value_sums + offsets, mask=inside & (continued != 0), other=0.0)",
            "acc = tl.load(value_sums + offsets, mask=inside & (continued < 0), other=0.0)",
        ),
        (
            "the outer product of the unary term forgotten",
            "acc + w[:, None] * t[None, :]",
            "acc + 0.0 * w[:, None] * t[None, :]",
        ),
        (
            "probabilities beyond the last key",
            "p = tl.where(there[None, :], p, 0.0)",
            "p = tl.where(there[None, :], p, 1.0)",
        ),
        (
            "a product with the rows of the first chunk",
            "first = first_row // 16 * 16",
            "first = 0",
        ),
        (
            "queries of the first image",
            "key += (first_image + image) * m * padded",
            "key += image * m * padded",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_stages.py",
        ("delta with the unary term", "y -= u[None, :]", "y -= 0.0 * u[None, :]"),
        (
            "keys' gradient whitened by the queries' parts",
            "pid - query_programs, key_sums, key_parts, grad_key, m, width, width, key_splits,",
            "pid - query_programs, key_sums, query_parts, grad_key, m, width, width, query_splits,",
        ),
        (
            "a program too few for the weights",
            "elif pid < first_delta:",
            "elif pid < first_delta - 1:",
        ),
    ),
    *planted(
        f"{FOLDER}/forward_stages.py",
        (
            "keys are scaled, too",
            "whitened_key, m, width, padded, key_splits, 1.0,",
            "whitened_key, m, width, padded, key_splits, sign,",
        ),
    ),
    *planted(
        f"{FOLDER}/tiles.py",
        (
            "columns that are dense counted by rows",
            "n = n // ALIGN * ALIGN",
            "n = n // 16 * 16",
        ),
    ),
    *planted(
        f"{FOLDER}/backward.py",
        (
            "the queries' gradient has parts of the keys' sizes",
            "*(*sums, *parts, of_queries, *sizes, queries.rows, keys.rows),",
            "*(*sums, *parts, of_queries, *sizes, keys.rows, keys.rows),",
        ),
        (
            "the keys' gradient in units of log 2",
            "_LN_2 * self.factors.rest)",
            "self.factors.rest)",
        ),
        (
            "the queries' gradient without the scale",
            "*images, self.scale, _LN_2",
            "*images, 1.0, _LN_2",
        ),
        ("the outer product in every chunk", "int(rows.stop == n)", "1"),
        (
            "chunks end within a block of rows",
            "multiple = max(self.tiles.n, self.product.n, self.product.k)",
            "multiple = 1",
        ),
    ),
    *planted(
        f"{FOLDER}/launch.py",
        ("natural exponentials", "size = abs(scale) * LOG2_E", "size = abs(scale)"),
        (
            "a negative scale is positive",
            "cls(math.copysign(1.0, scale), size)",
            "cls(1.0, size)",
        ),
        (
            "a scale that vanishes in float32",
            "if size < torch.finfo(torch.float32).tiny:",
            "if size == 0:",
        ),
    ),
    *planted(
        f"{FOLDER}/replay.py",
        (
            "an address of the first call",
            "filled[place] = first[number] + offset",
            "filled[place] = first[number]",
        ),
        (
            "kinds that differ in alignment alone are one",
            "tensor.dtype, tensor.data_ptr() % 16",
            "tensor.dtype, 0",
        ),
        (
            "kinds that differ in strides alone are one",
            "return tensor.shape, tensor.stride(),",
            "return tensor.shape,",
        ),
        (
            "devices are one",
            "kind = (launcher, options, tensors[0].get_device(), *map(_kind, tensors))",
            "kind = (launcher, options, *map(_kind, tensors))",
        ),
        (
            "a scale is that of the first call",
            "kind = (launcher, options, tensors",
            "kind = (launcher, tensors",
        ),
        (
            "every buffer of a repeated call begins at its first byte",
            "= len(self.tensors), places[name]",
            "= len(self.tensors), 0",
        ),
        (
            "a repeated call's grid is a program too small",
            "kernel.run(programs, 1, 1,",
            "kernel.run(programs - 1, 1, 1,",
        ),
    ),
)
