"""Mistakes in the attention's Triton kernels and in what launches them."""

from __future__ import annotations

from .mutation import Mutation

FOLDER = "scrn_ops/attention/kernels"


def planted(file: str, *bugs: tuple[str, str, str]) -> list[Mutation]:
    """(name, old, new) for each."""
    return [Mutation(f"{file}: {name}", f"{FOLDER}/{file}.py", old, new) for name, old, new in bugs]


CHOSEN = (
    *planted(
        "flash",
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
        ("the output is not rescaled", "acc * rescale[:, None], PRECISION", "acc, PRECISION"),
        (
            "the maximum is that of the last tile",
            "largest = above\n",
            "largest = tl.max(scores, axis=1)\n",
        ),
        ("every split starts at the first key", "first = split * split_keys", "first = 0"),
        (
            "parts merged without their weights",
            "acc += tl.load(parts + places, mask=inside, other=0.0) * weight[:, None]",
            "acc += tl.load(parts + places, mask=inside, other=0.0)",
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
            "the merged log-sum-exp is the maximum",
            "tl.store(log_sum_exp + image * n + rows, largest + tl.log2(total), mask=rows < n)",
            "tl.store(log_sum_exp + image * n + rows, largest, mask=rows < n)",
        ),
    ),
    *planted(
        "split_softmax",
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
            "out + (first_row + rows64) * out_stride_n",
            "out + rows64 * out_stride_n",
        ),
        (
            "keys of the first image",
            "key += (first_image + image) * m * width",
            "key += image * m * width",
        ),
        (
            "the unary term forgotten",
            "result = acc / total[:, None] + u[None, :]",
            "result = acc / total[:, None] + 0.0 * u[None, :]",
        ),
    ),
    *planted(
        "columns",
        (
            "mean over padded rows",
            "mean = mean / n",
            "mean = mean / (tl.cdiv(n, BLOCK_N) * BLOCK_N)",
        ),
        (
            "the last part of a mean left out",
            "    mean = tl.zeros([BLOCK_C], dtype=parts.dtype.element_ty)\n"
            "    for split in range(splits):",
            "    mean = tl.zeros([BLOCK_C], dtype=parts.dtype.element_ty)\n"
            "    for split in range(splits - 1):",
        ),
        (
            "weights of the first image",
            "tl.load(weights + image * n + rows,",
            "tl.load(weights + rows,",
        ),
    ),
    *planted(
        "unary",
        (
            "the softmax may overflow",
            "largest_of_all = tl.max(largest, axis=0)",
            "largest_of_all = 0.0 * tl.max(largest, axis=0)",
        ),
        (
            "gradient without the mean",
            "result = w * (slopes - tl.sum(mean, axis=0))",
            "result = w * slopes",
        ),
    ),
    *planted(
        "gradients",
        ("delta with the unary term", "(y.to(dtype) - u[None, :])", "y.to(dtype)"),
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
            "chunks before forgotten",
            "acc += tl.load(before + places, mask=here & there, other=0.0)",
            "acc += 0.0 * tl.load(before + places, mask=here & there, other=0.0)",
        ),
        (
            "the outer product of the unary term forgotten",
            "acc += w[:, None] * t[None, :]",
            "acc += 0.0 * w[:, None] * t[None, :]",
        ),
    ),
    *planted(
        "backward",
        (
            "the queries' gradient is not projected",
            "launch.whiten(query_sums, 1.0, grad_query)",
            "grad_query.copy_(query_sums)",
        ),
        ("the keys' gradient in units of log 2", "grad_key, _LN_2)", "grad_key, 1.0)"),
        (
            "the queries' gradient without the scale",
            "self._product(ds, k, out, self.scale)",
            "self._product(ds, k, out, 1.0)",
        ),
        (
            "the outer product in every chunk",
            'if last and name == "value" else None',
            'if name == "value" else None',
        ),
    ),
    *planted(
        "launch",
        ("natural exponentials", "(query, scale * LOG2_E)", "(query, scale)"),
    ),
)
