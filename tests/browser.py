"""A real browser that shows a page: headless Chromium, driven by its DevTools protocol over two pipes.

Any of these will do: Debian's chromium or chromium-headless-shell, Google Chrome, or the one that the variable BROWSER names.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--disable-sync", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)  # fmt: skip


def executable():
    """The path of a browser. There has to be one: what a page looks like, nothing else tells."""
    for name in filter(None, (os.environ.get("BROWSER"), *NAMES)):
        found = shutil.which(name)
        if found:
            return found
    raise FileNotFoundError(f"expected a browser, one of {', '.join(NAMES)}: make browser installs one")


class Browser:
    """A browser for as long as the context lasts, with one page."""

    def __init__(self, profile):
        self._profile = profile

    def __enter__(self):
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # The protocol is on descriptors 3 and 4, which a shell arranges without a hook between fork and exec; 3 may be one of ours.
        shell = f'exec 10<&{theirs_in} 11>&{theirs_out}; exec "$@" 3<&10 4>&11'
        command = ["bash", "-c", shell, "browser", executable(), *OPTIONS, f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread, self._number, self._session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")  # so that it has left its profile
        finally:
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method, **parameters):
        """What a method of the protocol returns; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith("Browser."):
            message["sessionId"] = self._session
        text = memoryview(json.dumps(message).encode() + b"\0")
        while text:
            text = text[os.write(self._to, text) :]
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _message(self):
        while b"\0" not in self._unread:
            more = os.read(self._from, 2**20)
            if not more:
                raise EOFError("the browser ended")
            self._unread += more
        text, _, self._unread = self._unread.partition(b"\0")
        return json.loads(text)

    def show(self, path, width=1280, height=900, dark=False, phone=False):
        """Load a page from a file into a window of that size, and wait until its script has drawn it."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def run(self, script):
        """The value of an expression of JavaScript, which may be a promise."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def picture(self, path, whole=False):
        """Write what the window shows, or the whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def accessibility(self):
        """The tree that a screen reader is told: (role, name) of each node."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]
