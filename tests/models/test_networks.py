"""What every network has to do, whatever it is made of.

A selection that covers every part runs by default; ``--all-networks`` runs all combinations.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scrn import SCRN
from scrn.models import with_ops

from .helpers import build, image, move_offsets, relative, type_of_logits
from .networks import COVERING, EVERY, LITE, TINY, Network

NUM_CLASSES = 5
SAME = 5e-5  # to rounding, which a deep network amplifies
CANCELLED = "key.bias"  # by the softmax over the keys
SIZES = [(64, 64), (97, 131), (720 // 4, 1280 // 4)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "network" in metafunc.fixturenames:
        every = metafunc.config.getoption("all_networks")
        metafunc.parametrize("network", EVERY if every else COVERING, ids=str, scope="class")


@pytest.fixture(scope="class")
def built(network: Network) -> SCRN:
    return build(*network, num_classes=NUM_CLASSES)


@pytest.fixture
def model(built: SCRN) -> SCRN:
    """To be changed at will."""
    return copy.deepcopy(built)


def skip_large(network: Network, config: pytest.Config) -> None:
    if not network.is_tiny and not config.getoption("all_networks"):
        pytest.skip("takes long, and has no other code than a smaller network")


@pytest.fixture
def small(network: Network, pytestconfig: pytest.Config) -> None:
    skip_large(network, pytestconfig)


class TestNetwork:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_forward_and_backward(
        self, model: SCRN, size: tuple[int, int], network: Network, pytestconfig: pytest.Config
    ) -> None:
        if size == SIZES[-1]:
            skip_large(network, pytestconfig)
        x = image(*size).requires_grad_()
        logits, embedding = model.train()(x, return_embedding=True)
        assert logits.shape == (2, NUM_CLASSES, *size)
        assert embedding.shape == (2, 256, -(-size[0] // 4), -(-size[1] // 4))
        (logits.square().mean() + embedding[:, 0].mean()).backward()
        assert x.grad.isfinite().all()
        assert x.grad.any()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    def test_every_part_matters(self, model: SCRN) -> None:
        """A parameter that is wired to nothing has no gradient."""
        logits = model.eval()(image(97, 131))
        logits.backward(torch.randn_like(logits))
        total = sum(p.grad.norm() ** 2 for p in model.parameters() if p.grad is not None) ** 0.5
        assert total.isfinite()
        dead = [
            name
            for name, parameter in model.named_parameters()
            if not name.startswith("embedding.")
            and not name.endswith(CANCELLED)
            and (parameter.grad is None or parameter.grad.norm() < 1e-7 * total)
        ]
        assert dead == []

    @torch.no_grad()
    def test_save_and_load(self, built: SCRN, network: Network, tmp_path: Path) -> None:
        built.save_pretrained(tmp_path)
        assert (tmp_path / "model.safetensors").is_file()
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["backbone"] == network.backbone
        loaded = SCRN.from_pretrained(tmp_path)
        assert [type(m) for m in loaded.modules()] == [type(m) for m in built.modules()]
        x = image(64, 64)
        expected = built.eval()(x)
        assert torch.equal(loaded.eval()(x), expected)
        other = SCRN.from_pretrained(tmp_path, ops="reference").eval()
        assert {m.backend for m in other.modules() if hasattr(m, "backend")} <= {"reference"}
        assert relative(other(x), expected) < 1e-4

    @torch.no_grad()
    def test_channels_last_equals_contiguous(self, model: SCRN) -> None:
        x = image(97, 131)
        expected = model.eval()(x)
        assert expected.is_contiguous()
        model.to(memory_format=torch.channels_last)
        got = model(x.contiguous(memory_format=torch.channels_last))
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert relative(got, expected) < SAME

    def test_bfloat16_autocast(self, network: Network) -> None:
        """As it is initialised, but for offsets that are not zero."""
        torch.manual_seed(0)
        model = move_offsets(SCRN(network.backbone, **network.arguments)).eval()
        x = image(97, 131)
        with torch.no_grad():
            expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(x)
        assert logits.dtype == type_of_logits("cpu", torch.bfloat16)
        assert relative(logits, expected) < 2e-2
        logits.float().square().mean().backward()
        assert all(p.grad.isfinite().all() for p in model.head.parameters())

    @pytest.mark.usefixtures("small")
    @torch.no_grad()
    def test_bfloat16_costs_no_more_than_in_plain_pytorch(self, model: SCRN) -> None:
        """Where every part matters a network amplifies the rounding of its convolutions: with
        the ops' definition, too."""
        x = image(97, 131)
        expected = model.eval()(x)
        errors = []
        for ops in ("fused", "reference"):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                errors.append(relative(with_ops(model, ops)(x), expected))
        assert errors[0] < 1.1 * errors[1] + 1e-3

    @pytest.mark.usefixtures("small")
    def test_compiles_into_one_graph(self, model: SCRN) -> None:
        """In float64: in float32 rounding may take an activation across the kink of a ReLU, and
        the gradient with it."""
        x = image(97, 131, batch=1).double()
        model.double().eval()
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        results = []
        for call in (model, compiled):
            model.zero_grad()
            logits = call(x)
            logits.square().mean().backward()
            results.append((logits, _gradient(model)))
        (logits, gradient), (traced, traced_gradient) = results
        assert relative(traced, logits) < 1e-12
        assert relative(traced_gradient, gradient) < 1e-11

    @pytest.mark.usefixtures("small")
    @torch.no_grad()
    def test_exports(self, model: SCRN) -> None:
        x = image(97, 131, batch=3)
        program = torch.export.export(
            model.eval(), (x,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}}
        )
        assert relative(program.module()(x), model(x)) < 1e-5
        assert relative(program.module()(x[:2]), model(x[:2])) < 1e-5

    def test_is_deterministic_under_a_seed(self, network: Network) -> None:
        first, second = (self._trained(network, seed) for seed in (3, 3))
        for name, value in first.items():
            assert torch.equal(value, second[name]), name
        other = self._trained(network, 4)
        assert not all(torch.equal(value, other[name]) for name, value in first.items())

    def _trained(self, network: Network, seed: int) -> dict[str, Tensor]:
        """Weights after a step of training: initialisation and dropping of paths draw numbers."""
        torch.manual_seed(seed)
        model = SCRN(network.backbone, **network.arguments)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        model.train()(image(64, 64)).square().mean().backward()
        optimizer.step()
        return model.state_dict()

    @torch.no_grad()
    def test_fuse_keeps_the_outputs(self, model: SCRN) -> None:
        """In float64, since norms whose statistics come from few pixels amplify roundings."""
        x = image(97, 131).double()
        expected = model.double().eval()(x)
        fused = model.fuse()
        assert relative(fused(x), expected) < 1e-12
        fused.to(memory_format=torch.channels_last)
        assert relative(fused(x.contiguous(memory_format=torch.channels_last)), expected) < 1e-12


def _gradient(model: SCRN) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_the_selection_covers_every_part() -> None:
    assert len(set(EVERY)) == len(EVERY) == 11 * 4 * 9
    assert set(COVERING) <= set(EVERY)
    assert {n.backbone for n in COVERING if n.is_tiny} == {"mscan_t", "van_t", LITE, TINY}
    for position in range(3):
        assert {network[position] for network in COVERING} == {n[position] for n in EVERY}
        traced = [n for n in COVERING if n.is_tiny]
        if position > 0:
            assert {network[position] for network in traced} == {n[position] for n in EVERY}
