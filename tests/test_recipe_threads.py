"""What all threads share while some record: the hook, torch.compile's stance, torch's notes of modes, and what others put there."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
import torch._dynamo.eval_frame as eval_frame
from forked import Forked
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
                if steps[who] <= 2:
                    threads[who].do(lambda who=who: entered(stacks[who], who))
                else:
                    threads[who].do(lambda who=who: left(stacks[who], who))
            assert nn.init._no_grad_trunc_normal_.__module__ == "torch.nn.init"


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


def test_it_is_said_that_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    with (
        pytest.warns(RuntimeWarning, match="torch.nn.init._no_grad_trunc_normal_ was replaced while fastinit"),
        fastinit.keyed(model, seed=1),
    ):
        model.init_weights()
        monkeypatch.setattr(nn.init, NAME, hook_of_another)


@pytest.mark.filterwarnings(REPLACED)
def test_a_hook_that_is_put_back_late_does_as_torchs_own() -> None:
    """Somebody has taken ours for the original, and puts it back when nobody records any more."""
    own, model = getattr(nn.init, NAME), Model()
    patch = pytest.MonkeyPatch()
    try:
        with fastinit.keyed(model, seed=1):
            model.init_weights()
            patch.setattr(nn.init, NAME, hook_of_another)
        patch.undo()
        assert getattr(nn.init, NAME) is not own
        assert_same_bits(*(draw(torch.empty(4, 6), 0, 1, -2, 2, torch.Generator().manual_seed(3)) for draw in (own, getattr(nn.init, NAME))))
        with fastinit.keyed(model, seed=2):
            model.init_weights()
        assert_same_bits(model.w.detach(), expected(2))
        generator = torch.Generator().manual_seed(3)
        assert_same_bits(getattr(nn.init, NAME)(torch.empty(4, 6), 0, 1, -2, 2, generator), own(torch.empty(4, 6), 0, 1, -2, 2, torch.Generator().manual_seed(3)))
    finally:
        setattr(nn.init, NAME, own)


@pytest.mark.filterwarnings(REPLACED)
def test_a_stance_that_is_set_within_stays_and_each_entry_is_eager() -> None:
    prior, model = eval_frame._stance, Model()
    try:
        with fastinit.keyed(model, seed=1):
            torch.compiler.set_stance("fail_on_recompile")
            with fastinit.keyed(model, seed=2):
                assert eval_frame._stance.stance == "force_eager"
                model.init_weights()
            model.init_weights()
        assert eval_frame._stance.stance == "fail_on_recompile"
    finally:
        eval_frame._set_stance(prior)


@pytest.mark.filterwarnings(REPLACED)
def test_a_stance_that_outlives_the_context_puts_back_what_was_before() -> None:
    prior, model = eval_frame._stance, Model()
    try:
        context = ExitStack()
        with fastinit.keyed(model, seed=1):
            context.enter_context(torch.compiler.set_stance("eager_on_recompile"))
            model.init_weights()
        assert eval_frame._stance.stance == "eager_on_recompile"
        context.close()
        assert eval_frame._stance == prior
    finally:
        eval_frame._set_stance(prior)


FIRST_COMPILED_WITHIN = """
import sys
import torch
from torch import nn
import fastinit
assert "torch._dynamo" not in sys.modules

traced = []

def backend(graph, inputs):
    traced.append(graph)
    return graph.forward

model = nn.Linear(8, 4)
with fastinit.keyed(model, seed=0), torch.no_grad():
    draw = torch.compile(lambda w: w.normal_().mul_(0.5), backend=backend)
    draw(model.weight), model.bias.zero_()
assert not traced
expected = fastinit.normal_(torch.empty(4, 8), std=0.5, key=fastinit.Key.of("weight", seed=0))
assert torch.equal(model.weight, expected)
with torch.no_grad():
    draw(torch.empty(4, 8))
print(len(traced))
"""


def test_what_is_compiled_first_within_is_compiled_afterwards() -> None:
    """In a process where nobody has imported the compiler before the context is entered."""
    done = Forked("-c", FIRST_COMPILED_WITHIN).wait()
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
