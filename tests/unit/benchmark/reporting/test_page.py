"""The report page in a real browser: what a reader sees, toggles and hovers; what a hostile name cannot do."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from pvrbench.benchmark.analysis.statistics import Contender
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.benchmark.reporting.clip import video_grid
from pvrbench.benchmark.reporting.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.xdist_group("browser")

Message = dict[str, Any]


class Browser:
    """Headless Chromium, spoken to through a pair of pipes in its DevTools protocol: messages of JSON, ended by NUL."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--disable-background-networking", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        # The protocol is spoken on descriptors 3 and 4, whatever numbers the pipes have here.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", CHROMIUM, *flags, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[Message] = []
        target = next(info for info in self.send("Target.getTargets")["targetInfos"] if info["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> Message:
        """Sends a command and waits for its result; events that come meanwhile are kept."""
        self._number += 1
        message: Message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> Message:
        while b"\0" not in self._unread:
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "Chromium has ended"
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Opens a page and waits until its figures are drawn."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url="about:blank")
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def read(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        for _ in range(200):
            if value := self.read(expression):
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} did not come true")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Moves, presses or releases the mouse."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is, once it is scrolled to."""
        x, y = self.read(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def click(self, selector: str) -> None:
        """Clicks an element, as a reader would."""
        x, y = self.middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)

    @property
    def complaints(self) -> list[str]:
        """What the console and the network say that a clean page would not cause."""
        self.read("new Promise((done) => setTimeout(done, 50))")
        found: list[str] = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                    found.append(json.dumps(params)[:300])
                case "Network.requestWillBeSent" if not re.match("data:|blob:", params["request"]["url"]):
                    found += [params["request"]["url"]] if params["type"] != "Document" else []
                case _:
                    pass
        return found

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self.send("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    run_dir = make_run(tmp_path_factory.mktemp("page"), "readouts=[pooled,mean]")
    write_report([run_dir], run_dir / "report")
    return run_dir / "report" / "report.html"


CURVES = '.plot[data-kind="curves"]'
SHOWN = f"document.querySelector('{CURVES}').data.map((trace) => trace.name).filter(Boolean)"


def test_a_reader_chooses_encoders_for_all_figures(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = browser.wait_for(SHOWN)
    assert "pixels_14 · pooled" in before
    rows = "[...document.querySelectorAll('.heat:not([hidden]) tr[data-id]:not([hidden])')].length"
    assert browser.read(rows) == len(before)
    browser.click('#controls input[value="0"]')
    assert browser.wait_for(f"{SHOWN}.length === {len(before) - 1}")
    assert browser.read(rows) == len(before) - 1
    browser.click('[data-choose="None"]')
    browser.wait_for(f"{SHOWN}.length === 0")
    browser.click('[data-choose="All"]')
    browser.wait_for(f"{SHOWN}.length === {len(before)}")
    assert browser.read("document.querySelector('#controls output').textContent") == f"{len(before)} of {len(before)}"
    assert browser.complaints == []


def test_a_reader_chooses_whose_interval_is_drawn(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.wait_for(SHOWN)
    bands = f"document.querySelector('{CURVES}').data.filter((trace) => trace.fill === 'toself').length"
    assert browser.read(bands) == 1
    choices = browser.read("[...document.getElementById('band').options].map((option) => option.text)")
    assert "pixels_7 · mean" in choices
    browser.click('[data-choose="None"]')
    for number in range(2):
        browser.click(f'#controls input[value="{number}"]')
    assert browser.wait_for(f"{bands} === 2 && document.querySelector('label.band').hidden")
    assert browser.complaints == []


def test_a_phone_names_the_colours_beside_the_curves(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    shown = browser.wait_for(SHOWN)
    assert browser.read("[...document.querySelectorAll('#legend li')].map((item) => item.innerText.slice(2))") == shown
    assert browser.read("getComputedStyle(document.getElementById('legend')).display") == "flex"


def test_the_keyboard_reaches_the_boxes_and_focus_is_seen(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = len(browser.wait_for(SHOWN))
    browser.read("document.querySelector('#controls [data-choose=None]').focus()")
    for key, code, text in (("Tab", 9, ""), (" ", 32, " ")):
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": code}
            browser.send("Input.dispatchKeyEvent", **event, **({"text": text} if text and kind == "keyDown" else {}))
    browser.wait_for(f"{SHOWN}.length === {before - 1}")
    assert browser.read("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_hovering_tells_the_numbers(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.wait_for(SHOWN)
    x, y = browser.middle(f"{CURVES} .scatterlayer .trace:last-child .points path")
    browser.mouse("mouseMoved", x - 1, y)
    browser.mouse("mouseMoved", x, y)
    text = browser.wait_for(f"document.querySelector('{CURVES} .hoverlayer').textContent")
    assert re.search(r"N = \d+: \d+\.\d % \[\d+\.\d, \d+\.\d\], \d+ episodes", text), text
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_is_the_readers_and_can_be_changed(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.wait_for(SHOWN)
    ground = "getComputedStyle(document.body).backgroundColor"
    grounds = ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
    assert browser.read(ground) == grounds[dark]
    browser.click("#theme")
    assert browser.read(ground) == grounds[not dark]
    assert browser.complaints == []


def test_every_figure_has_marks_and_a_table(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.wait_for(SHOWN)
    marks = browser.read(
        "Object.fromEntries([...document.querySelectorAll('.plot')]"
        ".map((node) => [node.dataset.kind, node.querySelectorAll('.trace').length]))"
    )
    assert set(marks) == {"curves", "readouts", "cost"}
    assert all(marks.values()), marks
    assert browser.read(
        "[...document.querySelectorAll('section .plot')].every((p) => p.closest('section').querySelector('table'))"
    )
    assert browser.read("[...document.querySelectorAll('th')].every((cell) => cell.scope)")
    assert browser.read("[...document.querySelectorAll('tbody tr')].every((row) => row.querySelector('th[scope=row]'))")
    shown = "document.querySelector('.heat:not([hidden])').textContent"
    assert "with 25 demonstrations" in browser.read(shown)
    browser.click('input[name="heat"]')
    assert "with 5 demonstrations" in browser.read(shown)


def test_the_front_holds_those_that_nobody_beats_at_their_cost(
    browser: Browser, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    rates = {"pixels_14": 0.9, "pixels_7": 0.2, "random_resnet18": 0.5, "random_vit_tiny": 0.4}
    times = {"pixels_14": 30, "pixels_7": 10, "random_resnet18": 20, "random_vit_tiny": 25}
    run_dir = make_run(tmp_path / "run", rates=rates)
    store = RecordStore(run_dir)
    for record in store.read()[0]:
        store.path_of(record.cell).unlink()
        store.write(record.model_copy(update={"timing": {"encoder_ms_in_tile": times[record.cell.encoder]}}))
    write_report([run_dir], run_dir / "report")
    browser.open(run_dir / "report" / "report.html")
    front = "document.querySelector('.plot[data-kind=cost]').data.find((trace) => trace.name === 'Pareto front').x"
    assert browser.wait_for(front) == [10, 20, 30]
    browser.read(
        "(() => { const axis = document.getElementById('cost-axis'); axis.value = 'flops';"
        "axis.dispatchEvent(new Event('change')); })()"
    )
    assert browser.read(front) == [10**6], "at one cost the best alone"


def test_nothing_sticks_out_on_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    browser.wait_for(SHOWN)
    assert browser.read("document.documentElement.scrollWidth") <= 390
    assert browser.complaints == []


def record_of(record: CellRecord, encoder: str) -> CellRecord:
    train = record.cell.train.model_copy(update={"encoder": encoder})
    return record.model_copy(update={"cell": record.cell.model_copy(update={"train": train})})


def renamed(run_dir: Path, encoder: str, name: str) -> None:
    """Gives an encoder of a made-up run another name."""
    store = RecordStore(run_dir)
    records, _ = store.read()
    for path in store.records_dir.glob("*.json"):
        path.unlink()
    for record in records:
        store.write(record_of(record, name) if record.cell.encoder == encoder else record)


def test_a_hostile_name_is_text(browser: Browser, tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run_dir = make_run(tmp_path / "run", "readouts=[pooled,mean]")
    evil = "</script><script>window.owned=1</script><img src=x onerror='owned=1'><b>bold</b>\"'&amp;$data%{x}"
    renamed(run_dir, "pixels_7", evil)
    write_report([run_dir], run_dir / "report")
    browser.open(run_dir / "report" / "report.html")
    assert f"{evil} · pooled" in browser.wait_for(
        "[...document.querySelectorAll('#controls label')].map((label) => label.innerText.replace(/^\\S\\s*/, ''))"
    )
    browser.wait_for(SHOWN)
    assert f"{evil}" in browser.read("document.querySelector('.plot[data-kind=readouts]').textContent")
    assert browser.read("window.owned") is None
    assert browser.read("document.querySelectorAll('img, b:not(.bar b), svg b').length") == 0
    assert browser.complaints == []


def test_no_script_runs_but_those_of_the_page(browser: Browser, page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</main>", "<script>window.owned=1</script></main>"))
    browser.open(copy)
    browser.wait_for(SHOWN)
    assert browser.read("window.owned") is None
    assert any("Content Security Policy" in text for text in browser.complaints)


def test_the_page_carries_all_it_needs(page: Path) -> None:
    outside_script = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#|data:)', outside_script)
    for words in (
        "Paired differences",
        "Provenance",
        "initial states of metaworld/assembly-v3",
        "pairs are significantly different",
    ):
        assert words in outside_script


def edited(text: str) -> str:
    return re.sub(r'"success":\s*true', '"success": false', text, count=1)


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "edited": (edited, "was changed after it was written"),
    "truncated": (lambda text: text[: len(text) // 2], "is not whole JSON"),
    "future": (lambda text: re.sub(r'"schema_version":\s*\d+', '"schema_version":99', text), "has schema version 99"),
    "non-finite": (lambda text: re.sub(r'("encoder_ms_in_tile":\s*)[\d.]+', r"\1NaN", text), "non-finite number NaN"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_record_is_named_on_the_page_and_the_rest_is_shown(
    kind: str, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    spoil, reason = SPOILT[kind]
    run_dir = make_run(tmp_path / "run")
    spoilt = sorted((run_dir / "records").glob("*oracle*.json"))[0]
    sound = spoilt.read_text()
    spoilt.write_text(spoil(sound))
    assert spoilt.read_text() != sound
    report = write_report([run_dir], run_dir / "report")
    text = (run_dir / "report" / "report.html").read_text()
    warnings = re.findall(r'<p class="warning">(.*?)</p>', text)
    assert any(spoilt.name in warning and reason in warning for warning in warnings), warnings
    assert len(report.summary["ranking"]) > 0  # pyright: ignore[reportArgumentType]
    assert 'id="results"' in text


def test_a_repeated_record_is_named_on_the_page(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run_dir = make_run(tmp_path / "run")
    first = sorted((run_dir / "records").glob("*.json"))[0]
    (first.parent / "zz.json").write_text(first.read_text())
    write_report([run_dir], run_dir / "report")
    text = (run_dir / "report" / "report.html").read_text()
    assert re.search(r'<p class="warning">zz.json was refused: it repeats', text)


def test_a_run_whose_trainings_all_failed_has_a_page_that_says_so(
    browser: Browser, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    run_dir = make_run(tmp_path / "run")
    store = RecordStore(run_dir)
    records, _ = store.read()
    for path in store.records_dir.glob("*.json"):
        path.unlink()
    for record in records:
        store.write(record.model_copy(update={"failure": "the loss diverged", "episodes": ()}))
    write_report([run_dir], run_dir / "report")
    assert "curves.png" not in (run_dir / "report" / "report.md").read_text()
    browser.open(run_dir / "report" / "report.html")
    assert "training failed" in browser.wait_for("document.querySelector('.warning').textContent")
    assert browser.wait_for("document.documentElement.dataset.theme")
    assert browser.read("[...document.querySelectorAll('section[id]')].map((node) => node.id)") == [
        "protocol",
        "provenance",
    ]
    assert browser.complaints == []


BOTH = [Contender("one", "mean", "mlp"), Contender("two", "mean", "mlp")]


def film(folder: Path, *episodes: tuple[str, int, bool], size: int = 1000) -> Path:
    """A folder of made-up videos: who, which initial state, and whether it was solved."""
    folder.mkdir(parents=True)
    entries: list[dict[str, object]] = []
    for name, state, success in episodes:
        cell = Cell.at(task="t", camera="c", encoder=name, readout="mean", head="mlp", num_demos=5, seed=0)
        path = folder / f"{name} {state}.mp4"
        path.write_bytes(bytes(size))
        entries.append({**cell.flat, "episode_index": state, "success": success, "file": path.name})
    (folder / "index.json").write_text(json.dumps(entries))
    return folder


def test_videos_of_one_initial_state_stand_side_by_side(tmp_path: Path) -> None:
    folder = film(tmp_path / "videos", ("two", 0, True), ("one", 0, True), ("one", 1, False), ("two", 1, True))
    text = video_grid([folder, tmp_path / "absent"], tmp_path, BOTH)
    rows = re.findall(r"initial state (\d) .*?</div></div>", text)
    assert rows == ["1", "0"], "where encoders differ comes first"
    assert re.findall(r"</span> (\w+) · mean \(mlp\): ((?:not )?solved)", text) == [
        ("one", "not solved"),
        ("two", "solved"),
        ("one", "solved"),
        ("two", "solved"),
    ]
    assert text.count("data:video/mp4;base64,") == 4


def test_a_video_that_is_not_played_shows_the_end_of_the_episode(tmp_path: Path) -> None:
    folder = film(tmp_path / "videos", ("one", 0, True), ("two", 0, False))
    frames = np.zeros((20, 64, 64, 3), np.uint8)
    frames[-4:] = 255
    imageio.imwrite(folder / "one 0.mp4", frames, fps=20)
    posters = re.findall(r'poster="data:image/jpeg;base64,([^"]+)"', video_grid([folder], tmp_path, BOTH))
    assert len(posters) == 1, "a file that is no video has none"
    assert imageio.imread(base64.b64decode(posters[0])).mean() > 200


def test_many_initial_states_are_folded(tmp_path: Path) -> None:
    folder = film(tmp_path / "videos", *(("one", state, True) for state in range(5)))
    shown, _, folded = video_grid([folder], tmp_path, BOTH).partition("<details><summary>2 more initial states")
    assert (shown.count("<video"), folded.count("<video")) == (3, 2)


def test_videos_beyond_the_budget_are_linked_and_counted(tmp_path: Path) -> None:
    folder = film(tmp_path / "run" / "videos", ("one", 0, True), ("two", 0, False))
    text = video_grid([folder], tmp_path / "run" / "report", BOTH, budget_bytes=1500)
    assert text.count("data:video/mp4;base64,") == 1
    assert 'href="../videos/two%200.mp4"' in text
    assert "1 of 2 videos are linked" in text


def test_an_index_names_no_file_elsewhere_and_a_broken_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    folder = film(tmp_path / "run" / "videos", ("one", 0, True))
    entries = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps([{**entries[0], "file": "../../secret.mp4"}]))
    assert "<video" not in video_grid([folder], tmp_path, BOTH)
    (folder / "index.json").write_text('[{"file": ')
    assert "videos of run are not shown: index.json" in video_grid([folder], tmp_path, BOTH)
