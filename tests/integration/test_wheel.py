"""The wheel that users install holds everything that runs: scripts, tables, weights."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel in it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("photomend-*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, code: str) -> str:
    """Run ``code`` where only the wheel's own packages of ours can be imported."""
    words = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}"]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=installed).stdout


def test_every_lua_script_is_in_it(installed):
    assert sorted(path.name for path in (installed / "jobs" / "lua").glob("*.lua")) == sorted(
        path.name for path in (ROOT / "jobs" / "lua").glob("*.lua")
    )
    assert list((installed / "jobs" / "lua").glob("*.lua"))


def test_the_page_and_the_contract_are_in_it_byte_for_byte(installed):
    for folder in ("static", "."):
        here = {path.name: path.read_bytes() for path in (ROOT / "api" / folder).glob("*.*") if path.is_file()}
        there = {path.name: path.read_bytes() for path in (installed / "api" / folder).glob("*.*") if path.is_file()}
        assert there == here
    assert {"index.html", "app.js", "style.css", "icon.svg"} <= {
        path.name for path in (installed / "api" / "static").iterdir()
    }
    assert json.loads((installed / "api" / "openapi.v1.json").read_text())["openapi"].startswith("3.1")


def test_it_serves_the_page_that_is_in_it_with_everything_that_the_page_asks_for(installed):
    out = run(
        installed,
        "import json, re\n"
        "from api import page\n"
        "files = {name: data.decode() for name, (data, _) in page._files().items()}\n"
        "print(page.__file__)\n"
        "asked = re.findall(r'/static/([a-z.]+)', files['index.html'])\n"
        "for name, text in files.items():\n"
        "    asked += re.findall(r'from \"./([a-z]+.js)\"', text)\n"
        "print(json.dumps([sorted(set(asked)), sorted(files)]))\n",
    )
    where, words = out.splitlines()
    asked, there = json.loads(words)
    assert where.startswith(str(installed))
    assert {"app.js", "api.js", "style.css"} <= set(asked) <= set(there)


def test_the_list_of_weights_and_the_preview_pack_are_in_it(installed):
    entries = tomllib.loads((installed / "pipeline" / "weights.toml").read_text())
    assert entries
    assert (installed / "pipeline" / "preview" / "MODEL_CARD.md").read_text()
    out = run(
        installed,
        "from pathlib import Path\n"
        "import pipeline\n"
        "from pipeline.weights import WeightStore\n"
        "store = WeightStore(Path('no-such-folder'), allow_preview=True)\n"
        "print(pipeline.__file__)\n"
        "for name in ('preview', 'preview-detector'):\n"
        "    print(name, store.verify(name))\n",
    )
    assert out.splitlines()[0].startswith(str(installed))
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["preview", "preview-detector"]


def test_its_command_starts(installed):
    assert "submit" in run(installed, "sys.argv = ['photomend', '--help']\nfrom photomend.cli import main\nmain()")


def test_it_installs_the_command_under_its_name(installed):
    (entry_points,) = installed.glob("photomend-*.dist-info/entry_points.txt")
    assert "photomend = photomend.cli:main" in entry_points.read_text()


def test_it_carries_licence_and_notice(installed):
    names = {path.name for path in installed.glob("photomend-*.dist-info/licenses/*")}
    assert {"LICENSE", "NOTICE"} <= names
