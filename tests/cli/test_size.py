"""kmodkit size and explain: sizes, reasons, and the page with the chart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli import treemap
from kmodkit.errors import MissingLibraryError
from kmodkit.image import Image, Part
from tests.commands import run
from tests.images import FIRMWARE, MODULES, NIC, make_root
from tests.require import need

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root with modules and firmware."""
    return make_root(tmp_path / "root")


def test_table_has_sizes_and_reasons(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The largest first, and sums at the end."""
    ran = run(capsys, "size", "--tree", root, "r8169")
    assert ran.status == 0
    assert re.split(r"\s{2,}", ran.lines[0].strip()) == [
        "43.9 KiB",
        "firmware",
        "rtl_nic/real.fw",
        "r8169 asks for it (r8169: named as r8169)",
    ]
    assert any(line.endswith("libphy: r8169 needs it") for line in ran.lines)
    assert any("early.bin" in line and line.endswith("early asks for it (built in)") for line in ran.lines)
    assert [line.split("in", 1)[1].strip() for line in ran.lines[-3:]] == [
        "2 modules",
        "5 firmware files and links",
        "all",
    ]


def test_json_has_every_part(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the chain as values; sizes add up to those of the files."""
    found = run(capsys, "size", "--tree", root, "--modalias", NIC, "--json").json
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["libphy"]["chain"] == [
        {"module": "r8169", "kind": "modalias", "subject": NIC, "via": NIC},
        {"module": "libphy", "kind": "needs", "subject": "r8169", "via": ""},
    ]
    assert parts["rtl_nic/a.fw"]["target"] == "real.fw"
    assert parts["wild/2.bin"]["needed_by"] == ["r8169"]
    files = [root / FIRMWARE / name for name in ("rtl_nic/real.fw", "wild/1.bin", "wild/2.bin", "early.bin")]
    files += [root / MODULES / "kernel/net" / name for name in ("r8169.ko", "libphy.ko.xz")]
    assert found["bytes"] == sum(path.stat().st_size for path in files)


def test_rows_are_limited_unless_all_are_wanted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not shown is summed up."""
    for number in range(60):
        (root / FIRMWARE / f"wild/x{number}.bin").write_bytes(b"x")
    ran = run(capsys, "size", "--tree", root, "r8169")
    assert any(re.search(r"in \d+ more \(--all shows them\)", line) for line in ran.lines)
    assert len(run(capsys, "size", "--tree", root, "r8169", "--all").lines) == 67 + 3


@pytest.mark.parametrize(
    ("target", "words", "status", "lines"),
    [
        ("libphy", ["-m", "r8169"], 0, ["libphy: in", "  r8169: named as r8169", "  libphy: r8169 needs it"]),
        (
            "card",
            ["-m", "r8169"],
            1,
            ["card: not in", "  nothing that was wished for means it, and nothing that is in needs it"],
        ),
        (
            "libphy",
            ["-m", "card"],
            1,
            [
                "libphy: not in",
                "  nothing that was wished for means it, and nothing that is in needs it",
                "  needed by r8169, which is not in either",
            ],
        ),
        (
            "card",
            ["--modalias", "pci:*", "--rule=-gpu/"],
            1,
            ["card: not in", "  it was wished for, and the rule -gpu/ takes it away"],
        ),
        ("early", ["-m", "card"], 0, ["early: in", "  it is built into the kernel"]),
        (NIC, ["-m", "r8169"], 0, ["r8169: in", "  r8169: named as r8169"]),
        (
            "wild/2.bin",
            ["-m", "r8169"],
            0,
            ["wild/2.bin: in", "  r8169 asks for wild/*.bin", "  r8169: named as r8169"],
        ),
        (
            "rtl_nic/gone.fw",
            ["-m", "r8169"],
            1,
            ["rtl_nic/gone.fw: not in", "  r8169 asks for it, and there is no such file"],
        ),
        ("wild/2.bin", ["-m", "card"], 1, ["wild/2.bin: not in", "  r8169 asks for it, and is not in"]),
        (
            "unused.bin",
            ["-m", "card"],
            1,
            ["unused.bin: not in", "  no module of this kernel has that name, nor asks for such firmware"],
        ),
    ],
)
def test_explain_says_why(
    root: Path, capsys: pytest.CaptureFixture[str], target: str, words: list[str], status: int, lines: list[str]
) -> None:
    """Of modules and firmware that are in, and of those that are not."""
    ran = run(capsys, "explain", target, "--tree", root, *words)
    assert (ran.status, ran.lines) == (status, lines)
    answers = run(capsys, "explain", target, "--tree", root, *words, "--json").json
    assert [answer["present"] for answer in answers] == [status == 0]
    assert [f"  {line}" for answer in answers for line in answer["because"]] == lines[1:]


def page(html: str, path: Path) -> list[dict[str, str]]:
    """Open a page in a browser without a network and return what its chart shows: text and size of each tile."""
    browser = need(shutil.which("chromium"), "chromium is not installed", "chromium")
    script = """
    <script>addEventListener("load", () => setTimeout(() => {
      const tiles = [...document.querySelectorAll("#treemap .slice")].map(slice => {
        const box = slice.getBoundingClientRect();
        return {text: slice.textContent, area: Math.round(box.width * box.height)};
      });
      const out = document.createElement("pre");
      out.id = "tiles";
      out.textContent = JSON.stringify(tiles);
      document.body.append(out);
    }, 1500))</script></body>"""
    path.write_text(html.replace("</body>", script))
    ran = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={path.with_suffix('.profile')}"),
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="tiles">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found is not None, ran.stderr
    tiles: list[dict[str, str]] = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    return tiles


def test_page_shows_the_chart_without_a_network(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tile for each file, whose area grows with its bytes."""
    output = tmp_path / "size.html"
    (root / FIRMWARE / "wild/2.bin").write_bytes(bytes(20_000))
    assert run(capsys, "size", "--tree", root, "r8169", "--html", output).status == 0
    html = output.read_text()
    assert "rtl_nic" in html
    tiles = {tile["text"]: int(tile["area"]) for tile in page(html, tmp_path / "seen.html")}
    assert {"real.fw", "2.bin", "modules", "firmware"} <= tiles.keys()
    assert tiles["real.fw"] > tiles["2.bin"] > 0


def test_page_is_the_same_twice_and_loads_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No random name in it, and no address that a browser would fetch from."""
    pages = []
    for number in range(2):
        output = tmp_path / f"{number}.html"
        assert run(capsys, "size", "--tree", root, "r8169", "--html", output).status == 0
        pages.append(output.read_text())
    assert pages[0] == pages[1]
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", pages[0])


def test_names_on_the_page_are_no_markup() -> None:
    """They come out of files."""
    part = Part("firmware/<b>\udcff</b>", "firmware", "<b>\udcff</b>", 3, "x")
    html = treemap.treemap_page(Image((part,)))
    assert "<b>\\udcff" not in html
    html.encode()


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'kmodkit\[html\]'"):
        treemap.treemap_page(Image(()))
