"""A page in one file: the template of page/ with its style, its script and the data, none of which is taken for another.

The page loads nothing, and its policy lets the browser run these scripts alone, by their hashes: whatever a name holds is text.
"""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

_SCRIPTS = ("chart.js", "tensors.js", "report.js")


def page(title: str, data: Any) -> str:
    """The page of these data, which are whatever JSON can hold."""
    style, script = _text("report.css"), "".join(map(_text, _SCRIPTS))
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        # In JSON these occur within texts alone; a browser looks for </script> and <!-- before it looks at JSON.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _text("report.html"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return (files("fastinit.cli") / "page" / name).read_text("utf-8")
