"""The real, unmodified OLMo-core 3.0.0: the same laws as its own, by name, whatever is sharded, and restored afterwards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import gloo_ranks
import olmo_models
import pytest
import torch
from olmo_core.nn.attention import AttentionConfig, recurrent
from olmo_core.nn.feed_forward import FeedForwardConfig, NormalizedFeedForward
from olmo_core.nn.transformer import InitMethod, Transformer, init
from scipy import stats
from torch import Tensor, nn

import fastinit
from fastinit import Key, init_model_
from fastinit.integrations.olmo_core import patched
from fastinit.integrations.session import Session
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.model.filling import fill_law_
from fastinit.model.roles import Role

METHODS = tuple(fastinit.InitMethod)
RULED = [name for name in olmo_models.MODELS if name not in ("nemotron", "kimi")]  # those whose rules fastinit has too
# Of a true law, one comparison in a million fails by chance; there are about a thousand, with fixed seeds.
P_VALUE = 1e-6


def supported(model: str, method: str) -> bool:
    return not (model in ("recurrent_moe_v2", "kimi") and method == "fan_in")  # OLMo-core has no rule for it


CASES = [(model, method) for model in RULED for method in METHODS if supported(model, method)]


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def initialised(model: str, method: str, seed: int = 0) -> nn.Module:
    made = olmo_models.build(olmo_models.MODELS[model](), method, seed)
    with patched():
        made.init_weights()
    return made


def stock(model: str, method: str, seed: int = 0) -> nn.Module:
    made = olmo_models.build(olmo_models.MODELS[model](), method, seed)
    torch.manual_seed(seed)  # what OLMo-core fills without its own generator
    made.init_weights()
    return made


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, tensor in actual.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=lambda text, n=name: f"{n}: {text}")


@contextmanager
def recorded_laws() -> Iterator[dict[int, tuple[Tensor, Any]]]:
    """The law of the last fill of each tensor, by torch's own functions."""
    laws: dict[int, tuple[Tensor, Any]] = {}
    recorded = {
        "_no_grad_trunc_normal_": lambda mean, std, a, b, *_: TruncatedNormal(mean, std, a, b),
        "_no_grad_normal_": lambda mean, std, *_: Normal(mean, std),
        "_no_grad_uniform_": lambda a, b, *_: Uniform(a, b),
        "_no_grad_zero_": lambda: Constant(0.0),
        "_no_grad_fill_": Constant,
    }

    def recorder(original: Callable[..., Tensor], law: Callable[..., Any]) -> Callable[..., Tensor]:
        def fill(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            laws[id(tensor)] = tensor, law(*args)
            return original(tensor, *args, **kwargs)

        return fill

    with mock.patch.multiple(
        nn.init, **{name: recorder(getattr(nn.init, name), law) for name, law in recorded.items()}
    ):
        yield laws


@pytest.mark.parametrize(("model", "method"), CASES)
def test_every_std_and_bound_is_what_olmo_core_computes(model: str, method: str) -> None:
    made = olmo_models.build(olmo_models.MODELS[model](), method)
    with recorded_laws() as recorded:
        made.init_weights()
    report = init_model_(made, method, embedding_std=made.embedding_init_std)
    for name, parameter in made.named_parameters():
        row = report[name]
        if row.role in (Role.TORCH_LINEAR.value, Role.WIDTH_SCALE.value):
            continue  # not through these functions; compared by their values below
        law = recorded[id(parameter)][1]
        if isinstance(row.law, LogOfUniform | InverseSoftplusOfLogUniform):
            assert law == row.law.source, name
        else:
            assert law == row.law, name


@pytest.mark.parametrize(("model", "method"), CASES)
def test_values_follow_the_same_law_as_olmo_cores(model: str, method: str) -> None:
    ours, theirs = values(initialised(model, method)), values(stock(model, method))
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        expected = theirs[name].flatten().double()
        actual = tensor.flatten().double()
        assert actual.dtype == expected.dtype, name
        if expected.numel() == 1 or bool((expected == expected[0]).all()):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        elif expected.numel() >= 16:
            assert stats.ks_2samp(actual, expected).pvalue > P_VALUE, name


@pytest.mark.parametrize("model", ["recurrent_moe_v2", "kimi"])
def test_parameters_of_recurrences_come_from_the_uniforms_of_olmo_core(model: str) -> None:
    made = olmo_models.build(olmo_models.MODELS[model](), "llama")
    with recorded_laws() as recorded, fastinit.keyed(made) as report:
        made.init_weights()
    laws = {row.name: row.law for row in report.rows if isinstance(row.law, LogOfUniform | InverseSoftplusOfLogUniform)}
    assert laws
    for name, law in laws.items():
        assert law.source == recorded[id(made.get_parameter(name))][1], name


def test_parameters_of_recurrences_have_the_bits_of_these_laws() -> None:
    """What OLMo-core computes of uniforms is lifted into a law, whose values are not what its own operators would give."""
    laws = {
        "recurrent_moe_v2": {
            "A_log": LogOfUniform(0.0, 16.0),
            "dt_bias": InverseSoftplusOfLogUniform(0.001, 0.1, 1e-4),
        },
        "nemotron": {"dt_bias": InverseSoftplusOfLogUniform(0.001, 0.1, 1e-4)},
        "kimi": {"A_log": LogOfUniform(1.0, 16.0)},
    }
    for model, by_name in laws.items():
        found = values(initialised(model, "llama", seed=3))
        checked = {name: by_name[end] for name in found if (end := name.rpartition(".")[2]) in by_name}
        assert checked
        for name, law in checked.items():
            expected = fill_law_(torch.empty_like(found[name]), law, key=Key.of(name, seed=3))
            torch.testing.assert_close(found[name], expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["A_log", "dt_bias"])
@pytest.mark.parametrize("model", ["recurrent_moe_v2", "nemotron", "kimi"])
def test_parameters_of_recurrences_follow_the_same_law(model: str, name: str) -> None:
    """A few numbers a block, so many seeds."""

    def pooled(make: Callable[..., nn.Module]) -> Tensor:
        models = [make(model, "llama", seed) for seed in range(12)]
        found = [p.detach() for made in models for full, p in made.named_parameters() if full.endswith(name)]
        return torch.cat(found).double()

    ours, theirs = pooled(initialised), pooled(stock)
    if (model, name) in (("nemotron", "A_log"), ("kimi", "dt_bias")):  # the logarithm of 1, 2, 3, ..., and zeros
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    else:
        assert stats.ks_2samp(ours, theirs).pvalue > P_VALUE


@pytest.mark.parametrize(("model", "method"), [case for case in CASES if case[0] != "normalized"])
def test_it_is_what_init_model_fills(model: str, method: str) -> None:
    made = initialised(model, method, seed=3)
    expected = values(made)
    for parameter in made.parameters():
        parameter.data.fill_(float("nan"))
    init_model_(made, method, seed=3, embedding_std=made.embedding_init_std)
    assert_same(values(made), expected)


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (model, method)
        for model in olmo_models.MODELS
        for method in METHODS
        if supported(model, method) and model != "normalized"
    ],
)
def test_it_is_what_keyed_gives_olmo_core_as_it_is(model: str, method: str) -> None:
    """Also where fastinit has no rules of its own: A_log and dt_bias are computed by OLMo-core, and lifted into laws."""
    made = olmo_models.build(olmo_models.MODELS[model](), method, seed=3)
    with fastinit.keyed(made, seed=3):
        made.init_weights()
    assert_same(values(made), values(initialised(model, method, seed=3)))


def test_keyed_normalizes_by_torchs_own_norms() -> None:
    """patched() sums the squares as integers, to the same bits on any mesh; torch's sums depend on their order."""
    made = olmo_models.build(olmo_models.normalized(), "normalized", seed=3)
    with fastinit.keyed(made, seed=3) as report:
        made.init_weights()
    expected = values(initialised("normalized", "normalized", seed=3))
    different = {name for name, tensor in values(made).items() if not torch.equal(tensor, expected[name])}
    assert different == {row.name for row in report.rows if row.role == "derived"}
    for name in different:
        torch.testing.assert_close(made.get_parameter(name).detach(), expected[name], rtol=NORM_BUDGET, atol=0)


@pytest.mark.parametrize("model", olmo_models.MODELS)
def test_no_parameter_is_missed_and_none_shares_values(model: str) -> None:
    found = values(initialised(model, "llama"))
    for name, tensor in found.items():
        assert not bool(tensor.isnan().any()), name
    random = [tensor.flatten()[:4].tolist() for tensor in found.values() if len(set(tensor.flatten().tolist())) > 4]
    assert len(random) == len({tuple(start) for start in random})


def test_seed_is_the_models_own_or_the_callers() -> None:
    made = initialised("dense", "llama", seed=11)
    with patched(seed=12):
        made.init_weights()
    weight = made.blocks["1"].attention.w_q.weight.detach()
    key = Key.of("blocks.1.attention.w_q.weight", seed=12)
    expected = fastinit.trunc_normal_(torch.empty_like(weight), std=0.02, a=-0.06, b=0.06, key=key)
    torch.testing.assert_close(weight, expected, rtol=0, atol=0)
    with patched():
        made.init_weights()
    assert_same(values(made), values(initialised("dense", "llama", seed=11)))


def test_normalized_weights_have_unit_norms() -> None:
    made = initialised("normalized", "normalized")
    theirs = stock("normalized", "normalized")
    for module, dim in ((made.blocks["0"].attention.w_q, -1), (made.blocks["1"].feed_forward.w2, 0)):
        norms = torch.linalg.vector_norm(module.weight.detach(), dim=dim)
        assert float((norms - 1).abs().amax()) < NORM_BUDGET
    assert set(values(made)) == set(values(theirs))


def test_normalisation_that_is_compiled_is_not_traced() -> None:
    """OLMo-core compiles the bound method of the model; what it traced in patched() would outlive it."""
    made = olmo_models.build(olmo_models.normalized(), "normalized")
    made.normalize_matrices = torch.compile(made.normalize_matrices, backend="eager")
    with patched():
        made.init_weights()
    assert_same(values(made), values(initialised("normalized", "normalized")))
    with mock.patch.object(Session, "normalize", side_effect=ZeroDivisionError):
        made.normalize_matrices()


def test_what_is_compiled_and_called_first_in_patched_is_compiled_afterwards() -> None:
    """Else torch, which compiles nothing in a mode, would run it as it is written for ever."""
    made, traced = olmo_models.build(olmo_models.normalized(), "normalized"), []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    @torch.compile(backend=backend)
    def rescale(w: Tensor) -> None:
        w.mul_(1.0)

    weight = made.lm_head.w_out.weight
    init_weights = made.lm_head.w_out.reset_parameters
    made.lm_head.w_out.reset_parameters = lambda: (init_weights(), rescale(weight.data))
    with patched():
        made.init_weights()
    assert traced == []
    rescale(torch.ones(4, 4))
    assert len(traced) == 1


NORM_BUDGET = 2**-21  # a few roundings of fp32


def attributes() -> dict[str, Any]:
    """Everything that patched() replaces, and everything near it."""
    owners = [nn.init, init, Transformer, *Transformer.__subclasses__()]
    return {f"{owner.__name__}.{name}": value for owner in owners for name, value in vars(owner).items()}


def test_everything_is_restored() -> None:
    before = attributes()
    with patched():
        assert attributes() != before
    assert attributes() == before
    with pytest.raises(ZeroDivisionError), patched():
        raise ZeroDivisionError
    assert attributes() == before
    made = olmo_models.build(olmo_models.dense())
    made.blocks["1"].attention.init_weights = lambda **_: 1 / 0
    with pytest.raises(ZeroDivisionError), patched():
        made.init_weights()
    assert attributes() == before
    with patched():
        olmo_models.build(olmo_models.moe()).init_weights()


def test_what_somebody_else_puts_there_meanwhile_stays() -> None:
    before = attributes()

    def theirs() -> None: ...

    with mock.patch.object(init, "_apply_init", init._apply_init):  # puts torch's way back, whatever comes of it
        with (
            pytest.warns(RuntimeWarning, match=r"init\._apply_init was replaced while fastinit had it replaced"),
            patched(),
        ):
            init._apply_init = theirs
        assert init._apply_init is theirs
    assert attributes() == before


def test_seed_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"^seed: "), patched(seed=-1):
        pass
    with patched():
        pass


def test_nesting_is_refused_and_harmless() -> None:
    with patched():
        with pytest.raises(RuntimeError, match="entered once at a time"), patched():
            pass
        made = olmo_models.build(olmo_models.dense(), "llama", 0)
        made.init_weights()
    assert_same(values(made), values(initialised("dense", "llama")))


def in_thread(work: Callable[[], object]) -> BaseException | None:
    """Run the work in another thread; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_other_threads_are_refused_or_left_alone() -> None:
    made = olmo_models.build(olmo_models.dense())
    linear = nn.Linear(4, 4)

    def fill() -> None:
        nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(3))
        init.init_linear(linear, generator=torch.Generator().manual_seed(3))

    fill()
    expected = linear.weight.detach().clone()
    with patched():
        assert "expected the thread that entered" in str(in_thread(made.init_weights))
        assert "entered once at a time" in str(in_thread(lambda: patched().__enter__()))
        assert in_thread(fill) is None
    torch.testing.assert_close(linear.weight.detach(), expected, rtol=0, atol=0)


def test_other_models_and_fills_are_left_alone() -> None:
    def other() -> Tensor:
        torch.manual_seed(4)
        return nn.init.trunc_normal_(nn.Linear(8, 8).weight.detach(), std=0.02)

    expected = other()
    with patched():
        torch.testing.assert_close(other(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("owner", "name", "value", "message"),
    [
        (init, "_apply_init", lambda x, init_fun: None, r"_apply_init\(x, init_fun\) in place of"),
        (recurrent, "_copy_into_tensor_or_dtensor", lambda to: None, r"_copy_into_tensor_or_dtensor\(to\) in place of"),
        (init, "init_linear", lambda m, std: None, "init_linear does not call _apply_init"),
        (NormalizedFeedForward, "_normalize_matrix", lambda self, w: None, r"_normalize_matrix\(self, w\) in place of"),
    ],
)
def test_unknown_internals_are_refused_at_entry(owner: Any, name: str, value: Any, message: str) -> None:
    with mock.patch.object(owner, name, value), pytest.raises(RuntimeError, match=message), patched():
        pass
    with patched():
        pass


def test_draws_past_the_patch_are_noticed() -> None:
    made = olmo_models.build(olmo_models.dense())
    norm = made.blocks["0"].attention_norm
    norm.reset_parameters = lambda: norm.weight.data.exponential_()
    with (
        pytest.raises(RuntimeError, match=r"aten\.exponential_\.default drew 1 times from torch's generators"),
        patched(),
    ):
        made.init_weights()
    norm.register_buffer("noise", torch.empty(4))
    norm.reset_parameters = lambda: norm.noise.normal_()
    with (
        pytest.raises(RuntimeError, match=r"buffers hold drawn numbers.*: blocks\.0\.attention_norm\.noise"),
        patched(),
    ):
        made.init_weights()


def test_draws_by_other_ways_than_torch_nn_init_are_keyed() -> None:
    made = olmo_models.build(olmo_models.dense())
    norm = made.blocks["0"].attention_norm
    norm.reset_parameters = lambda: norm.weight.data.normal_()
    state = torch.get_rng_state()
    with patched(seed=9):
        made.init_weights()
    expected = fastinit.normal_(torch.empty(32), key=Key.of("blocks.0.attention_norm.weight", seed=9))
    torch.testing.assert_close(norm.weight.detach(), expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_draw_is_wasted_and_no_weight_is_filled_twice() -> None:
    """The reset of every module, before the real initialisation, costs nothing."""
    made = olmo_models.build(olmo_models.moe())
    filled: list[str] = []
    fill_listed = fastinit.model.filling.fill_listed_

    def counted(tensors: Any, laws: Any, keys: Any, *others: Any) -> None:
        filled.extend(str(key.stream) for key in keys)
        fill_listed(tensors, laws, keys, *others)

    at_once = mock.patch.object(fastinit.recipe.known, "fill_", side_effect=ZeroDivisionError)
    with mock.patch.object(fastinit.model.filling, "fill_listed_", counted), at_once, patched():
        made.init_weights()
    matrices = [name for name, parameter in made.named_parameters() if "norm" not in name]
    assert len(filled) == len(set(filled)) == len(matrices)


# What OLMo-core's own tests of initialisation do: they call a method on a module, and look at mean and std.


@pytest.mark.parametrize("method", InitMethod)
def test_methods_called_on_a_module_of_their_own(method: InitMethod) -> None:
    arguments: dict[str, Any] = dict(d_model=128, block_idx=1, num_blocks=8, std=0.02)

    def made() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(5)
        feed_forward = FeedForwardConfig(64, bias=True).build(128)
        attention = AttentionConfig(n_heads=4, bias=False).build(128, layer_idx=0, n_layers=2)
        method.init_feed_forward(feed_forward, generator=generator, **arguments)
        method.init_attention(attention, generator=generator, **arguments)
        return values(nn.ModuleList([feed_forward, attention]))

    theirs = made()
    with patched():
        ours, again = made(), made()
    assert_same(ours, again)
    for name, tensor in ours.items():
        if "bias" in name:
            assert not bool(tensor.any())
        else:
            assert stats.ks_2samp(tensor.flatten(), theirs[name].flatten()).pvalue > P_VALUE, name
            assert not torch.equal(tensor, theirs[name])


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_hold_parts_of_what_one_process_has(world_size: int) -> None:
    gloo_ranks.run("olmo_cases.py", world_size)
