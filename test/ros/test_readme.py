# SPDX-License-Identifier: Apache-2.0
"""What README and docs/ say of the nodes, against the nodes: parameters, launch arguments, topics, tests of faults."""

import importlib.util
import re
from pathlib import Path

import launch_file
import pytest
import yaml
from fake_model import FakeModel
from rclpy.node import Node
from script_modules import script

from robotseg_ros.run_node import NODES

ROOT = Path(__file__).resolve().parents[2]
PAPERS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")})
}
README = "\n".join(PAPERS.values())
OF_ROS = ("use_sim_time", "start_type_description", "qos_overrides")
SAID_BY_HAND = "| launch argument | default | what |"


def tables():
    return script("tables")


def table(header):
    """The rows below a header, as lists of cells."""
    lines = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split(" |")] for line in lines]


@pytest.fixture
def segmenter(start_segmenter):
    # The defaults, not what tests usually set.
    return start_segmenter(FakeModel(), max_age=0.2, stale_after=1.0)


def test_tables_are_as_the_code_has_it(capsys):
    pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
    assert tables().main(check=True) == 0, capsys.readouterr().err


def test_parameters_of_the_node(segmenter):
    page = PAPERS["docs/parameters.md"]
    page = page[page.index("| parameter | default |") : page.index("<!-- end -->")]
    told = {row.split("|")[1].strip(" `"): row for row in page.strip().splitlines()[2:]}
    ours = {name for name in segmenter.get_parameters_by_prefix("") if not name.startswith(OF_ROS)}
    assert set(told) == ours
    for name, row in told.items():
        default, live = row.split("|")[2].strip(), row.split("|")[-2].strip()
        if default not in ("empty", "none"):
            assert segmenter.get_parameter(name).value == yaml.safe_load(default.strip("`")), name
        assert segmenter.describe_parameter(name).read_only == (live != "live"), name


def test_launch_arguments():
    _, entities = launch_file.evaluate({}, {})
    told = [row[0].strip("`") for row in table(SAID_BY_HAND) if row[0].startswith("`")]
    parameters = set(launch_file.arguments_of_node()) - {"use_sim_time"}
    assert sorted([*told, *parameters]) == sorted(e.name for e in entities if hasattr(e, "default_value"))


def lines_of(text):
    """Lines of code of a page, joined where they go on."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()] + [
        " ".join(span.split()) for span in spans
    ]


def launched():
    """(page, launch file, arguments by name) wherever ``ros2 launch robotseg_ros`` is written."""
    for page, text in PAPERS.items():
        for line in lines_of(text):
            for file, rest in re.findall(r"ros2 launch robotseg_ros (\S+)([^#;&]*)", line):
                yield page, file, dict(re.findall(r"(\w+):=(\S*)", rest))


def test_arguments_that_are_written_for_a_launch_file_are_declared_by_it(monkeypatch):
    seen = set()
    for page, file, arguments in launched():
        monkeypatch.setattr(launch_file, "FILE", ROOT / "launch" / file)
        assert launch_file.FILE.is_file(), (page, file)
        _, entities = launch_file.evaluate({}, {})
        declared = {entity.name for entity in entities if hasattr(entity, "default_value")}
        assert set(arguments) <= declared, (page, file)
        seen.add(file)
    assert {f"{name}.launch.py" for name in NODES} <= seen


@pytest.mark.parametrize("page", PAPERS)
def test_arguments_that_are_written_without_their_launch_file_are_declared_by_one(monkeypatch, page):
    """`ros2 launch` drops without a word what a launch file does not declare."""
    declared = set()
    for file in (ROOT / "launch").glob("*.launch.py"):
        monkeypatch.setattr(launch_file, "FILE", file)
        declared |= {entity.name for entity in launch_file.evaluate({}, {})[1] if hasattr(entity, "default_value")}
    for line in lines_of(PAPERS[page]):
        if "ros2 launch" not in line:
            # What follows -p or -r goes to a node itself.
            assert set(re.findall(r"(?<!-p )(?<!-r )(?<![\w/~_<>.])([a-z][a-z_]*):=", line)) <= declared, line


def parameters_of(name, context):
    """What a node of run_node declares."""
    node = Node(name, context=context)
    tables().TABLES[name][1](node)
    names = set(node.get_parameters_by_prefix(""))
    node.destroy_node()
    return names


def test_parameters_that_are_written_for_a_node_are_declared_by_it(segmenter, context):
    pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
    known = {"segmenter": set(segmenter.get_parameters_by_prefix(""))}
    known |= {name: parameters_of(name, context) for name in NODES}
    checked = 0
    for page, text in PAPERS.items():
        for line in lines_of(text):
            for node, rest in re.findall(r"(?:run_node |run_|robotseg_ros )(\w+) --ros-args(.*)", line):
                if node in known:
                    assert set(re.findall(r"-p (\w+):=", rest)) <= known[node], (page, line)
                    checked += 1
            for name in re.findall(r"ros2 param (?:set|get|describe) /robotseg (\w+)", line):
                assert name in known["segmenter"], (page, line)
                checked += 1
    assert checked >= 6


def topics_of(node):
    """Names of all that a node publishes, hears and serves."""
    names = {publisher.topic_name for publisher in node.publishers}
    names |= {subscription.topic_name for subscription in node.subscriptions}
    return names | {service.service_name for service in node.services}


def test_topics_of_the_segmenter_that_are_named_exist_and_all_are_named(segmenter):
    there = topics_of(segmenter)
    named = set()
    for page in ("README.md", "docs/topics.md", "docs/clicks.md", "docs/viewing.md", "docs/recordings.md"):
        spans = re.findall(r"`([^`]+)`", PAPERS[page])
        for name in {match for span in spans for match in re.findall(r"(?:~|/robotseg)/[a-z_]+\b(?!/)", span)}:
            topic = name.replace("~", "/robotseg")
            assert topic in there or topic == "/robotseg/wrist", (page, name)
            named.add(topic)
    pictures = {name.removesuffix("/compressed") for name in there if name.endswith("/compressed")}
    ours = {name for name in there if name.startswith("/robotseg/") and not name.endswith("/compressed")}
    # Those that every lifecycle node has.
    services = ("parameter", "state", "transition", "type_description")
    assert {name for name in ours if not any(word in name for word in services)} <= named
    assert pictures <= named


@pytest.mark.parametrize("name", sorted(NODES))
def test_topics_of_the_other_nodes_that_are_named_exist(name, context):
    module, kind = NODES[name]
    if name == "viewer":
        pytest.skip("it serves a web socket")
    node = getattr(importlib.import_module(module), kind)(context=context)
    there = topics_of(node)
    node.destroy_node()
    for page, text in PAPERS.items():
        for topic in re.findall(rf"(?<![\w.])/{name}/[a-z_]+\b", " ".join(lines_of(text))):
            assert topic in there, (page, topic)
    page = PAPERS[f"docs/{name.replace('_', '-').replace('servo', 'servoing')}.md"]
    for topic in re.findall(r"`~/([a-z_]+)`", page):
        # ~/parts is the segmenter's.
        assert f"/{name}/{topic}" in there or topic == "parts", topic
    for topic in (topic for topic in there if topic.startswith(f"/{name}/") and "parameter" not in topic):
        if "type_description" not in topic:
            assert topic.rpartition("/")[2] in page, topic


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_node_beside_the_segmenter_is_told_of(name):
    assert f"{name}.launch.py" in README


def file_of(name):
    """By its name alone: test files have names of their own."""
    found = [*(ROOT / "test").rglob(name.rsplit("/", 1)[-1] if name.endswith(".py") else f"test_{name}.py")]
    return found[0] if found else None


def test_faults_name_tests_that_there_are():
    """A cell is "file: first words; more words; other file": words without a file are of the file before."""
    checked = 0
    for row in table("| fault | what the node does | test |"):
        for piece in row[-1].split("; "):
            head, colon, words = piece.partition(": ")
            if colon or file_of(head):
                files = head.split(", ")
            else:
                words = piece
            for file in files:
                names = re.findall(r"def (test_\w+)", file_of(file).read_text())
                for part in words.split(", "):
                    wanted = [word for word in re.findall(r"[a-z0-9]+", part.lower()) if len(word) > 1]
                    assert any(all(word in name for word in wanted) for name in names), (file, part)
                    checked += 1
    assert checked > 25
