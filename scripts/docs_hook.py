# SPDX-License-Identifier: Apache-2.0
"""Hooks of mkdocs: papers outside docs/ become pages, their links follow, and every module gets its API reference."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAPERS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "models/README.md": "models.md",
    "demo/README.md": "demo.md",
}
"""Papers of the repository and the pages that they become."""
PICTURES = re.compile(r"\.(jpg|png|svg)$")
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):<code>~?(?P<name>[\w.]+)</code>")


def papers() -> dict[str, str]:
    """All papers there are, also those of the examples."""
    found = {path: page for path, page in PAPERS.items() if (ROOT / path).is_file()}
    for path in sorted(ROOT.glob("examples/*/README.md")):
        found[str(path.relative_to(ROOT))] = f"examples/{path.parent.name}.md"
    return found


def rooms() -> dict[str, list[str]]:
    """Modules of every package of ours, by the name of the package."""
    found: dict[str, list[str]] = {}
    for top in ("robotseg_core", "robotseg_ros"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if not {"msg", "srv"} & set(parts) and file.name != "__init__.py":
                found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return found


def listed(nav: object) -> set[str]:
    """The pages that a table of contents names."""
    if isinstance(nav, str):
        return {nav}
    inside = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ()
    return {page for item in inside for page in listed(item)}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages of the API and of the examples enter the table of contents, and at its end what nobody has put into it."""
    nav = config.nav or []
    for section in nav:
        for name, pages in section.items() if isinstance(section, dict) else ():
            if name == "Reference":
                pages[1:1] = [{room: f"api/{room}.md"} for room in rooms()]
            if isinstance(pages, list) and "examples.md" in pages:
                place = pages.index("examples.md") + 1
                pages[place:place] = [page for page in papers().values() if page.startswith("examples/")]
    every = {*papers().values(), *(str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md"))}
    rest = sorted(every - listed(nav))
    if rest:
        nav.append({"More": rest})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Papers from outside docs/, the pictures beside them, and a page of the API for each room."""
    for path, page in papers().items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    for folder in ("demo", "models"):
        for picture in sorted((ROOT / folder).iterdir()):
            if PICTURES.search(picture.name):
                files.append(File.generated(config, f"{folder}/{picture.name}", abs_src_path=str(picture)))
    for room, modules in rooms().items():
        lines = [f"# {room}", ""]
        for module in modules:
            lines += [f"::: {module}", ""]
        files.append(File.generated(config, f"api/{room}.md", content="\n".join(lines)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links go to the pages that papers have become; what is no page, as code, becomes its name.

    Raises:
        PluginError: a link to a file that is not there.
    """
    here = {to: path for path, to in papers().items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        if not (ROOT / path).exists():
            raise PluginError(f"{here} links to {target}, which is not there")
        to = papers().get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if to is None and PICTURES.search(path):
            to = path
        if to is None:
            return match["text"]
        beside = os.path.relpath(to, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match['mark']}[{match['text']}]({beside}{'#' + anchor if anchor else ''})"

    # Before the first heading it would hide the page's title.
    markdown = markdown.removeprefix("<!-- SPDX-License-Identifier: Apache-2.0 -->\n")
    if page.file.src_uri == "api.md":
        markdown = re.sub(r"`(robotseg_core\.[\w.]+)` \|", r"[`\1`][\1] |", markdown)
    elif page.file.src_uri in ("specification.md", "seg-r1.md"):
        # Brackets side by side, no links.
        markdown = markdown.replace("][", "]\\[")
    fenced = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in fenced)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Roles of Sphinx in docstrings, :class:`...`, become links where the name has a page."""
    return ROLE.sub(
        lambda match: f'<autoref identifier="{match["name"]}" optional><code>{match["name"]}</code></autoref>', html
    )
