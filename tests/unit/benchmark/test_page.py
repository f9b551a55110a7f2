"""The report page in a real browser: what a reader sees, toggles and hovers; what a hostile name cannot do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmark.records import RecordStore
from benchmark.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.xdist_group("browser")

# Acts as a reader would and leaves what was seen in the page, which the browser then prints.
READER = """
<script>
const seen = {errors: [], requests: 0};
window.addEventListener("error", (event) => seen.errors.push(event.message));
document.addEventListener("securitypolicyviolation", (event) => seen.errors.push("blocked " + event.blockedURI));
</script>
"""
READING = """
<script>
setTimeout(() => {
  const plot = document.querySelector('.plot[data-kind="curves"]');
  const names = () => [...new Set(plot.data.map((trace) => trace.name).filter(Boolean))];
  seen.before = names();
  const box = document.querySelector("#controls input");
  box.click();
  seen.after = names();
  box.click();
  const curve = plot.data.findIndex((trace) => trace.name === seen.before[0]);
  Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 0}]);
  seen.hover = plot.querySelector(".hoverlayer").textContent;
  const theme = document.documentElement.dataset.theme;
  document.getElementById("theme").click();
  seen.themes = [theme, document.documentElement.dataset.theme];
  const marks = (node) => node.querySelectorAll(".trace, .hm").length;
  seen.plots = [...document.querySelectorAll(".plot")].map((node) => [node.dataset.kind, marks(node)]);
  seen.requests = performance.getEntriesByType("resource").filter((entry) => !/^(data|blob):/.test(entry.name)).length;
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
}, 800);
</script>
"""


def read_in_browser(page: Path, folder: Path, size: str = "1200,900") -> dict[str, Any]:
    """Opens a copy of the page with a reader in it and returns what it saw."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    text = page.read_text()
    copy = folder / "read.html"
    copy.write_text(text.replace("</title>", "</title>" + READER, 1).replace("</body>", READING + "</body>"))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "--virtual-time-budget=4000"]
    found = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search(r'<pre id="seen">(.*?)</pre>', found.stdout, re.DOTALL)
    assert match, found.stderr[-2000:]
    seen: dict[str, Any] = json.loads(match[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    seen["console"] = [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    return seen


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> Path:
    run_dir = make_run(tmp_path_factory.mktemp("page"), "readouts=[pooled,mean]")
    write_report([run_dir], run_dir / "report")
    return run_dir / "report" / "report.html"


def test_a_reader_toggles_hovers_and_changes_the_theme(page: Path, tmp_path: Path) -> None:
    seen = read_in_browser(page, tmp_path)
    assert seen["errors"] == []
    assert seen["console"] == []
    assert seen["requests"] == 0
    assert len(seen["after"]) == len(seen["before"]) - 1
    assert re.search(r"N = 5: \d+\.\d %", seen["hover"])
    assert sorted(seen["themes"]) == ["dark", "light"]
    drawn = dict(seen["plots"])
    assert set(drawn) == {"curves", "readouts", "heat", "cost"}
    assert all(count > 0 for count in drawn.values()), drawn


def test_nothing_sticks_out_on_a_phone(page: Path, tmp_path: Path) -> None:
    assert read_in_browser(page, tmp_path, size="500,800")["overflow"] <= 0


def test_the_page_carries_all_it_needs(page: Path) -> None:
    outside_script = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#|data:)', outside_script)
    for words in (
        "Paired differences",
        "Provenance",
        "initial states of metaworld/assembly-v3",
        "pairs are told apart",
    ):
        assert words in outside_script


def test_a_hostile_name_is_text(tmp_path: Path, make_run: Any) -> None:
    run_dir = make_run(tmp_path / "run")
    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    store = RecordStore(run_dir)
    records, _ = store.read()
    for path in store.records_dir.glob("*.json"):
        path.unlink()
    for record in records:
        name = evil if record.cell.encoder == "pixels_7" else record.cell.encoder
        store.write(record.model_copy(update={"cell": record.cell.model_copy(update={"encoder": name})}))
    write_report([run_dir], run_dir / "report")
    text = (run_dir / "report" / "report.html").read_text()
    assert "<img src=x" not in text
    assert "</script><script>document.title" not in text
    assert 'onerror="' not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    seen = read_in_browser(run_dir / "report" / "report.html", tmp_path)
    assert seen["errors"] == []


def test_a_spoilt_record_is_named_on_the_page(tmp_path: Path, make_run: Any) -> None:
    run_dir = make_run(tmp_path / "run")
    spoilt = sorted((run_dir / "records").glob("*.json"))[0]
    spoilt.write_text(spoilt.read_text().replace('"success":true', '"success":false', 1)[:-40])
    write_report([run_dir], run_dir / "report")
    assert f"{spoilt.name} was refused" in (run_dir / "report" / "report.html").read_text()
