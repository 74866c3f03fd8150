"""The page of ``fastinit report`` in a real browser: it shows what was found, runs nothing but itself, and fits a phone."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from browser import Browser

from fastinit import __main__ as cli
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.hf import HuggingFace
from fastinit.checkpoint.index import INDEX
from fastinit.checkpoint.writing import write
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.transformed import Constant
from fastinit.model.tiles import Tile
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import LocalShard

HOSTILE = (
    "</script><img src=x onerror=\"document.title='taken'\">",
    "<!--<script>document.title='taken'</script>",
    "{{data}} &lt;b&gt; \u2028 'quoted' \"twice\" \u202e\ud7ff",
)
LAWS = {
    "model.embed_tokens.weight": (Normal(0.0, 0.02), (300, 200)),
    "model.layers.0.mlp.down_proj.weight": (TruncatedNormal(0.0, 0.02, -0.06, 0.06), (250, 80)),
    "model.layers.1.mlp.down_proj.weight": (TruncatedNormal(0.0, 0.02, -0.06, 0.06), (250, 80)),
    "model.layers.0.input_layernorm.weight": (Constant(1.0), (200,)),
    **{
        f"model.layers.{k}.mlp.experts.{e}.up_proj.weight": (Uniform(-0.1, 0.1), (40, 50))
        for k in (0, 10)
        for e in range(60)
    },
    **{name: (Normal(0.0, 1.0), (50, 50)) for name in HOSTILE},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small checkpoint with names that are made to be taken for something else."""
    entries = {
        name: Entry(name, (), shape, (Tile((0,) * len(shape), shape, law, name, LocalShard.whole(shape)),))
        for name, (law, shape) in LAWS.items()
    }
    contents = Contents("test", "own", 5, entries, dict.fromkeys(entries, torch.bfloat16))
    directory = tmp_path_factory.mktemp("page") / "<i>checkpoint</i>".replace("/", "")
    write(directory, HuggingFace(contents, 10**6), lambda count: None, False)
    return directory


@pytest.fixture(scope="module")
def page(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert cli.main(["report", str(checkpoint), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(browser, page):
    """The page, just loaded: nothing was asked for but its file, and nothing went wrong."""
    browser.show(page)
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert requests == [page.resolve().as_uri()]
    troubles = [
        event for event in browser.events if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert not troubles
    assert browser.run("document.documentElement.dataset.ready") == "yes"
    return browser


def names(browser):
    return browser.run("[...document.querySelectorAll('#list .name')].map(e => e.textContent)")


def ask(browser, control, value):
    """Set a control, and tell the page as a person would."""
    browser.run(
        f"(() => {{ const e = document.getElementById('{control}'); e.value = {json.dumps(value)};"
        f" for (const what of ['input', 'change']) e.dispatchEvent(new Event(what));"
        " return new Promise(done => setTimeout(done, 50)); })()"
    )


def test_every_tensor_is_shown_with_its_law(shown):
    assert names(shown) == list(LAWS)[:100]
    shown.run("document.getElementById('more-tensors').click()")
    assert names(shown) == list(LAWS)
    words = shown.run("[...document.querySelectorAll('#list th small')].map(e => e.textContent)")
    assert words[:4] == ["normal, std 0.02", *["normal in [-0.06, 0.06], std 0.02"] * 2, "constant 1"]
    assert shown.run("document.getElementById('more-tensors').hidden")
    assert shown.run("document.getElementById('found').textContent") == f"All {len(LAWS)} tensors"
    assert "Every tensor looks like its law" in shown.run("document.getElementById('verdict').textContent")


def test_a_hostile_name_is_text(shown, checkpoint):
    ask(shown, "filter", HOSTILE[0])
    assert names(shown) == [HOSTILE[0]]
    assert shown.run("document.querySelectorAll('img, #list i, #list b').length") == 0
    assert shown.run("document.title") == checkpoint.name
    assert shown.run("document.querySelector('h1').innerHTML").startswith("&lt;i&gt;")


def test_the_policy_runs_no_other_script(shown):
    shown.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.taken = 1'}))"
    )
    shown.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.taken = 1\">')")
    assert shown.run("new Promise(done => setTimeout(() => done(window.taken === undefined), 100))")


def test_it_is_filtered_and_sorted(shown):
    ask(shown, "filter", "layers.*.DOWN")
    assert names(shown) == [f"model.layers.{k}.mlp.down_proj.weight" for k in (0, 1)]
    assert shown.run("document.getElementById('found').textContent") == f"2 of {len(LAWS)} tensors"
    ask(shown, "filter", "")
    ask(shown, "role", "3")  # the experts
    ask(shown, "order", "name")
    experts = [f"model.layers.{k}.mlp.experts.{e}.up_proj.weight" for k in (0, 10) for e in range(60)]
    assert names(shown) == experts[:100]
    assert shown.run("document.querySelector('#list th').getAttribute('aria-sort')") == "ascending"
    shown.run("document.querySelector('#list th button').click()")
    assert names(shown) == experts[::-1][:100]
    ask(shown, "role", "")
    ask(shown, "order", "elements")
    assert names(shown)[0] == "model.embed_tokens.weight"


def test_a_tensor_opens(shown):
    shown.run("document.querySelectorAll('#list .name')[1].click()")
    text = shown.run("document.querySelector('.detail').innerText")
    for title in ("mean", "std", "skewness", "histogram", "at the bounds", "sha256"):
        assert title in text
    assert shown.run("document.querySelectorAll('#list .name')[1].getAttribute('aria-expanded')") == "true"
    assert shown.run("document.querySelectorAll('.detail svg path').length") == 2  # the histogram, and its law
    shown.run("document.querySelectorAll('#list .name')[1].click()")
    assert shown.run("document.querySelector('.detail')") is None


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits(browser, page, width, tmp_path):
    browser.show(page, width=width, height=800, phone=width < 700)
    browser.run("document.querySelectorAll('#list .name')[0].click()")
    browser.run("document.querySelectorAll('#list .name')[99].click()")
    assert browser.run("document.documentElement.scrollWidth") == browser.run("innerWidth") == width
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000  # something is drawn


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(browser, page, dark):
    """WCAG's contrast of every text with what is behind it."""
    browser.show(page, dark=dark)
    worst = browser.run(
        """(() => {
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (c) => { const [r, g, b] = c.map(v => linear(v / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
          if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
        let worst = 99;
        for (const e of document.querySelectorAll('body *')) {
          if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
          const style = getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
          const [a, b] = [light(parse(ink).slice(0, 3)), light(behind(e))].sort((x, y) => y - x);
          worst = Math.min(worst, (a + 0.05) / (b + 0.05));
        }
        return worst; })()"""
    )
    assert worst >= 4.5
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(19, 21, 24)" if dark else "rgb(247, 246, 243)"
    )


def test_a_screen_reader_is_told(browser, page):
    """Tables stay tables where a narrow window lays them out as cards, and pictures have words."""
    browser.show(page, width=390, height=800, phone=True)
    tree = browser.accessibility()
    roles = [role for role, _ in tree]
    assert roles.count("table") == 2
    assert {"columnheader", "rowheader", "searchbox", "combobox", "status", "main"} <= set(roles)
    assert ("heading", "Tensors") in tree
    pictures = [name for role, name in tree if role == "image"]
    assert len(pictures) > 100
    assert all("histogram of" in name for name in pictures)
    assert all(name for role, name in tree if role in ("button", "searchbox", "combobox", "table"))


def test_keys_alone_are_enough(shown):
    shown.run("document.querySelector('#list th button').focus()")
    for kind in ("keyDown", "keyUp"):  # the text makes it a press
        shown.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert shown.run("document.querySelector('#list th').getAttribute('aria-sort')") == "ascending"


def test_a_sample_says_so(browser, checkpoint, tmp_path, capsys):
    options = ["--sample", "1", "--sample-seed", "3", "-o", str(tmp_path / "r.html")]
    assert cli.main(["report", str(checkpoint), *options]) == 0
    assert "digest" not in capsys.readouterr().out
    browser.show(tmp_path / "r.html")
    assert "sampled: 1 random parts of each tensor, seed 3" in browser.run(
        "document.getElementById('asked').textContent"
    )
    assert "none, as only a sample was read" in browser.run("document.getElementById('totals').textContent")


def test_what_is_not_its_law_is_marked(browser, checkpoint, tmp_path, capsys):
    copy = shutil.copytree(checkpoint, tmp_path / "c")
    file = next(copy.glob("*.safetensors"))
    raw = bytearray(file.read_bytes())
    raw[-5000:-1] = b"\x7f" * 4999  # numbers of 1e38, in the last tensor
    file.write_bytes(raw)
    assert cli.main(["report", str(copy), "-o", str(tmp_path / "r.html")]) == 0
    assert "Not all tensors look like their laws" in capsys.readouterr().out
    browser.show(tmp_path / "r.html")
    assert browser.run("document.getElementById('verdict').classList.contains('odd')")
    ask(browser, "order", "far")
    assert names(browser)[0] == HOSTILE[-1]
    assert browser.run("document.querySelectorAll('#list tr .odd-score').length") > 0


def test_what_is_missing_is_counted(checkpoint, tmp_path, capsys):
    folder = shutil.copytree(checkpoint, tmp_path / "c")
    index = json.loads((folder / INDEX).read_text("utf-8"))
    del index["weight_map"]["model.embed_tokens.weight"]
    (folder / INDEX).write_text(json.dumps(index), "utf-8")
    assert cli.main(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out.startswith("1 of the tensors that its recipe names are missing; ")


def test_the_first_of_the_ranks_writes_the_page(checkpoint, tmp_path, monkeypatch, capsys):
    """Others that write it, too, would do so once each, and say so."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for rank, files in (("1", []), ("0", ["r.html"])):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(["report", str(checkpoint), "-o", str(tmp_path / "r.html")]) == 0
        assert bool(capsys.readouterr().out) == bool(files)
        assert [path.name for path in tmp_path.iterdir()] == files


def test_what_is_no_checkpoint_is_told_in_a_line(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_page_is_whole_or_not_there(checkpoint, tmp_path, monkeypatch):
    def full(self, text, encoding):
        Path.write_bytes(self, b"half")
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert cli.main(["report", str(checkpoint), "-o", str(tmp_path / "r.html")]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", [".", "absent/r.html"])
def test_a_page_with_no_place_is_told_before_anything_is_read(tmp_path, monkeypatch, capsys, output):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "no-checkpoint", "-o", output]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastinit report: error: --output: expected a file")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
