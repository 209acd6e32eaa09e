# SPDX-License-Identifier: Apache-2.0
"""Where weights are looked for, and how they are fetched."""

import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import robotseg_core
from robotseg_core.config import BASE
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights import files as weight_files
from robotseg_core.weights.files import KNOWN_FILES, WeightFile, WeightsError, download, find_weights
from robotseg_core.weights.load import ADDED_TO_SAM2

pytestmark = pytest.mark.usefixtures("models")


def test_absent_files_say_how_to_obtain_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="download robotseg.pt by hand from https://github.com/showlab/RobotSeg"):
        find_weights("base")
    with pytest.raises(WeightsError, match="robotseg fetch sam2.1_hiera_tiny.pt.*Apache-2.0"):
        find_weights("sam2.1_hiera_tiny.pt")
    with pytest.raises(WeightsError, match="no weight file .*x.safetensors; presets are nano, base"):
        find_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["nano", "base"])
def test_a_presets_name_is_never_a_file_of_the_current_folder(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    filename = weight_files.PRESET_FILES[name]
    (models / filename).write_bytes(b"mine")
    monkeypatch.setattr(weight_files, "search_folders", lambda: [models])
    monkeypatch.chdir(tmp_path)
    for planted in (name, filename):
        (tmp_path / planted).write_bytes(b"planted")
    assert find_weights(name) == models / filename
    # Asked for as a file, it is one.
    assert find_weights(filename) == Path(filename) and find_weights(f"./{name}") == Path(name)


def test_relative_cache_folders_count_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROBOTSEG_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weight_files.cache_folder() == tmp_path / "home" / ".cache" / "robotseg"


def test_a_folder_that_anybody_can_write_to_is_not_searched(models: Path) -> None:
    assert models in weight_files.search_folders()
    models.chmod(0o777)
    assert models not in weight_files.search_folders()


def test_presets_are_found_in_the_models_folder(models: Path) -> None:
    torch.save({"model": torch.nn.Linear(3, 2).state_dict()}, models / "robotseg.pt")
    assert find_weights("base") == models / "robotseg.pt"


@pytest.mark.parametrize("site", ["lib/python3.12/site-packages", "local/lib/python3.12/dist-packages"])
def test_installed_weights_are_found_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    monkeypatch.setattr(robotseg_core, "__file__", str(tmp_path / site / "robotseg_core" / "__init__.py"))
    # This environment has the shipped weights installed: look from another one.
    monkeypatch.setattr(weight_files.sysconfig, "get_path", lambda _: str(tmp_path / "elsewhere"))
    shared = tmp_path / "share" / "robotseg_ros" / "models"
    shared.mkdir(parents=True)
    (shared / "nano.safetensors").touch()
    assert find_weights("nano") == shared / "nano.safetensors"


CONTENT = bytes(range(256)) * 9000


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/weights.bin":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def known(url: str, **changes: object) -> WeightFile:
    values = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)} | changes
    return WeightFile(filename="weights.bin", licence="Apache-2.0", page="page", url=url, **values)


def test_download_checks_and_names_the_file(server: str, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[int, int | None]] = []
    with caplog.at_level(logging.WARNING):
        path = download(known(f"{server}/weights.bin"), progress=lambda done, total: seen.append((done, total)))
    assert path == models / "weights.bin" and path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert "Apache-2.0" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"size": 17}, "expected 17"),
        ({"url": "absent.bin"}, "404"),
    ],
)
def test_failed_downloads_leave_nothing(server: str, models: Path, changes: dict, message: str) -> None:
    url = f"{server}/{changes.pop('url', 'weights.bin')}"
    with pytest.raises(WeightsError, match=message):
        download(known(url, **changes))
    assert list(models.iterdir()) == []


@pytest.fixture
def odd_server() -> Iterator[str]:
    """Answers in the way that the path names."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            if self.path == "/no-http":
                self.wfile.write(b"hello\r\n\r\n")
                return
            self.send_response(200)
            if self.path == "/cut":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"ffff\r\nx")
                return
            if self.path == "/length":
                self.send_header("Content-Length", "many")
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("endless", {}, "and goes on, expected 2304000"),
        ("endless", {"size": None, "sha256": None}, "and goes on, expected 5000000"),
        ("length", {"size": None}, "and goes on, expected 5000000"),
        ("cut", {}, "IncompleteRead"),
        ("no-http", {}, "BadStatusLine"),
    ],
)
def test_odd_servers_cannot_fill_the_disk_and_are_named(
    odd_server: str, models: Path, monkeypatch: pytest.MonkeyPatch, path: str, changes: dict, message: str
) -> None:
    monkeypatch.setattr(weight_files, "MAX_SIZE", 5_000_000)
    seen: list[int] = []
    with pytest.raises(WeightsError, match=message):
        download(known(f"{odd_server}/{path}", **changes), progress=lambda done, _: seen.append(done))
    assert max(seen, default=0) <= 5_000_000 and list(models.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="NotADirectoryError"):
        download(known(f"{server}/weights.bin"), tmp_path / "file" / "models")


def test_unreachable_server_is_a_clear_error() -> None:
    with pytest.raises(WeightsError, match="cannot fetch http://127.0.0.1:9"):
        download(known("http://127.0.0.1:9/weights.bin"))


def test_files_for_people_only_are_not_fetched() -> None:
    with pytest.raises(WeightsError, match="by hand"):
        download(KNOWN_FILES["robotseg.pt"])


def test_fetch_command(server: str, models: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(KNOWN_FILES, "weights.bin", known(f"{server}/weights.bin"))
    assert weight_files.main(["weights.bin"]) == 0
    assert (models / "weights.bin").read_bytes() == CONTENT
    assert str(models / "weights.bin") in capsys.readouterr().out
    assert weight_files.main(["robotseg.pt"]) == 2
    assert "by hand" in capsys.readouterr().err


def test_what_robotseg_adds_to_sam2_is_known_exactly() -> None:
    with torch.device("meta"):
        keys = list(RobotSegModel(BASE).state_dict())
    assert len(keys) == 585
    assert sum(bool(ADDED_TO_SAM2.match(key)) for key in keys) == 114


def test_every_preset_has_a_known_file() -> None:
    assert set(weight_files.PRESET_FILES.values()) <= set(KNOWN_FILES)
