"""What all threads share while some record: the hook, torch.compile's stance, torch's notes of modes, and what others put there."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch._dynamo.eval_frame as eval_frame
from laws import assert_same_bits
from torch import Tensor, nn
from torch.utils import _python_dispatch as modes

import fastinit

NAME = "_no_grad_trunc_normal_"
NOTES = [name for name in vars(modes) if name.startswith("_is_in_")]
REPLACED = r"ignore:.* was replaced while fastinit had it replaced:RuntimeWarning"


class Model(nn.Module):
    """One parameter, which is drawn by the hook."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((4, 6), torch.nan))

    def init_weights(self) -> None:
        nn.init.trunc_normal_(self.w)


def state() -> dict[str, Any]:
    """All of torch that is another while anybody records."""
    notes = {name: getattr(modes, name) for name in NOTES}
    return {**notes, "hook": getattr(nn.init, NAME), "stance": eval_frame._stance}


@contextmanager
def unchanged() -> Iterator[None]:
    before = state()
    yield
    assert state() == before


def expected(seed: int) -> Tensor:
    return fastinit.trunc_normal_(torch.empty(4, 6), key=fastinit.Key.of("w", seed=seed))


@pytest.fixture(autouse=True)
def torchs_own() -> Iterator[None]:
    """Whatever a test leaves behind."""
    hook, stance = getattr(nn.init, NAME), eval_frame._stance
    yield
    setattr(nn.init, NAME, hook)
    eval_frame._set_stance(stance)


class Worker:
    """A thread that does one thing after another, as it is told."""

    def __init__(self) -> None:
        self._todo: list[Callable[[], object]] = []
        self._told, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def do(self, work: Callable[[], object]) -> None:
        self._todo.append(work)
        self._told.release()
        assert self._done.acquire(timeout=60)
        if self._raised:
            raise self._raised.pop()

    def end(self) -> None:
        self._todo.append(SystemExit)
        self._told.release()
        self._thread.join(60)

    def _work(self) -> None:
        while True:
            self._told.acquire()
            work = self._todo.pop()
            if work is SystemExit:
                return
            try:
                work()
            except BaseException as error:
                self._raised.append(error)
            self._done.release()


@contextmanager
def workers(number: int) -> Iterator[list[Worker]]:
    made = [Worker() for _ in range(number)]
    try:
        yield made
    finally:
        for worker in made:
            worker.end()


# Two threads, each of which enters twice and leaves twice: (thread, enters) in all orders.
ORDERS = sorted(set(itertools.permutations([0, 0, 0, 0, 1, 1, 1, 1])))


@pytest.mark.parametrize("first", [0, 1])
def test_two_threads_nest_in_all_orders(first: int) -> None:
    """In each step both have their own numbers, and in the end torch is as it was."""
    with unchanged(), workers(2) as threads:
        for order in ORDERS:
            if order[0] != first:
                continue
            stacks, steps = ([], []), [0, 0]
            for who in order:
                steps[who] += 1
                threads[who].do(partial(entered if steps[who] <= 2 else left, stacks[who], who))
            assert getattr(nn.init, NAME).__module__ == "torch.nn.init"


def entered(stack: list[tuple[ExitStack, Model]], who: int) -> None:
    model, context = Model(), ExitStack()
    context.enter_context(fastinit.keyed(model, seed=who + 2 * len(stack)))
    stack.append((context, model))
    model.init_weights()
    assert eval_frame._stance.stance == "force_eager"


def left(stack: list[tuple[ExitStack, Model]], who: int) -> None:
    context, model = stack.pop()
    model.init_weights()
    context.close()
    assert_same_bits(model.w.detach(), expected(who + 2 * len(stack)))


def test_four_threads_and_one_of_torch() -> None:
    """Each has its own model's values; the fifth has torch's own, in the same moments."""
    rounds, together = 20, threading.Barrier(5, timeout=60)
    wrong: list[str] = []

    def torchs(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(4, 6)
        return [
            nn.init.trunc_normal_(weight.clone(), generator=generator),
            nn.init.normal_(weight.clone(), generator=generator),
            nn.init.kaiming_uniform_(weight.clone(), generator=generator),
            torch.randn(3, generator=generator),
        ]

    alone = [torchs(seed) for seed in range(rounds)]

    def keyed(who: int) -> None:
        for step in range(rounds):
            model = Model()
            together.wait()
            with fastinit.keyed(model, seed=100 * who + step):
                model.init_weights()
            if not torch.equal(model.w, expected(100 * who + step)):
                wrong.append(f"keyed {who}, {step}")

    def plain() -> None:
        for step in range(rounds):
            together.wait()
            if not all(map(torch.equal, torchs(step), alone[step])):
                wrong.append(f"torch, {step}")

    with unchanged():
        threads = [threading.Thread(target=keyed, args=(who,)) for who in range(4)]
        threads.append(threading.Thread(target=plain))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def hook_of_another(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return tensor


@pytest.mark.filterwarnings(REPLACED)
def test_what_another_puts_over_the_hook_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    with fastinit.keyed(model, seed=1):
        model.init_weights()
        monkeypatch.setattr(nn.init, NAME, hook_of_another)
    assert getattr(nn.init, NAME) is hook_of_another
    assert eval_frame._stance.stance == "default"
    with fastinit.keyed(model, seed=2):  # and is what stands below the hook from now on
        model.init_weights()
    assert getattr(nn.init, NAME) is hook_of_another
    assert_same_bits(model.w.detach(), expected(2))


def test_it_is_said_that_it_stays() -> None:
    context = fastinit.keyed(Model(), seed=1, kept=["w"])
    context.__enter__()
    setattr(nn.init, NAME, hook_of_another)
    with pytest.warns(RuntimeWarning, match="torch.nn.init._no_grad_trunc_normal_ was replaced while fastinit"):
        context.__exit__(None, None, None)


@pytest.mark.filterwarnings(REPLACED)
def test_a_hook_that_is_put_back_late_does_as_torchs_own() -> None:
    """Somebody has taken ours for the original, and puts it back when nobody records any more."""
    own, model, patch = getattr(nn.init, NAME), Model(), pytest.MonkeyPatch()
    with fastinit.keyed(model, seed=1):
        model.init_weights()
        patch.setattr(nn.init, NAME, hook_of_another)
    patch.undo()
    ours = getattr(nn.init, NAME)
    assert ours is not own
    generators = [torch.Generator().manual_seed(2) for _ in range(2)]
    assert_same_bits(
        *(hook(torch.empty(4, 6), 0, 1, -2, 2, made) for hook, made in zip((ours, own), generators, strict=True))
    )
    with fastinit.keyed(model, seed=2):
        model.init_weights()
    assert_same_bits(model.w.detach(), expected(2))
    assert getattr(nn.init, NAME) is own


@pytest.mark.filterwarnings(REPLACED)
def test_a_stance_that_is_set_within_stays_and_each_entry_is_eager() -> None:
    model = Model()
    with fastinit.keyed(model, seed=1):
        torch.compiler.set_stance("fail_on_recompile")
        with fastinit.keyed(model, seed=2):
            assert eval_frame._stance.stance == "force_eager"
            model.init_weights()
        torch.compiler.set_stance("fail_on_recompile")
        model.init_weights()
    assert eval_frame._stance.stance == "fail_on_recompile"


@pytest.mark.filterwarnings(REPLACED)
def test_a_stance_that_outlives_the_context_puts_back_what_was_before() -> None:
    prior, model, context = eval_frame._stance, Model(), ExitStack()
    with fastinit.keyed(model, seed=1):
        context.enter_context(torch.compiler.set_stance("eager_on_recompile"))
        model.init_weights()
    assert eval_frame._stance.stance == "eager_on_recompile"
    context.close()
    assert eval_frame._stance == prior


def test_what_is_called_first_within_is_compiled_afterwards() -> None:
    """torch compiles nothing in a mode, but then never again what it has seen there: so it is not to see it."""
    traced, model = [], Model()

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        traced.append(graph)
        return graph.forward

    @torch.compile(backend=backend)
    def init(w: Tensor) -> None:
        w.normal_().mul_(0.5)

    with fastinit.keyed(model, seed=3), torch.no_grad():
        init(model.w)
    assert traced == []
    assert_same_bits(model.w.detach(), fastinit.normal_(torch.empty(4, 6), std=0.5, key=fastinit.Key.of("w", seed=3)))
    with torch.no_grad():
        init(torch.empty(4, 6))
    assert len(traced) == 1
