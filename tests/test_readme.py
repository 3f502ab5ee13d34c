"""What README.md and deploy/README.md promise exists: each command parses, each name is there."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest
import xarray as xr

import dphot
from dphot import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "deploy" / "README.md"]


def blocks(path: Path, language: str = "") -> list[str]:
    """Code blocks of a document in one language."""
    return [
        text
        for lang, text in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.M | re.S)
        if lang == language
    ]


def dphot_commands(path: Path) -> list[list[str]]:
    """Every dphot command of the document: in blocks, and between backquotes."""
    lines = [line for block in blocks(path) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S))
    out = []
    for line in lines:
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["dphot"] and not any(word.isupper() for word in words[1:2]):
                out.append(words[1:])
    return out


CASES = [
    pytest.param(words, id=f"{path.parent.name}: {' '.join(words)}")
    for path in DOCUMENTS
    for words in dphot_commands(path)
]


@pytest.mark.parametrize("words", CASES)
def test_every_command_parses(words: list[str]):
    # What is shortened in a sentence gets what every reduction needs.
    if "..." in words:
        i = words.index("...")
        words = [*words[:i], "night", "--store", "field.dphot", *words[i + 1 :]]
    assert isinstance(cli.parse(words), argparse.Namespace)


def test_there_are_commands_to_test():
    assert len(dphot_commands(DOCUMENTS[0])) >= 6 and len(dphot_commands(DOCUMENTS[1])) >= 1


def test_first_the_demo_then_the_tests():
    commands = [line for block in blocks(DOCUMENTS[0]) for line in block.strip().splitlines()]
    installs = [line for line in commands if line.startswith("pip ")]
    assert commands[0] == "pip install . && dphot demo"
    assert installs[1] == "pip install '.[test]' && pytest"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.parent.name)
def test_names_in_python_blocks_exist(path: Path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "dphot"
            ):
                assert hasattr(dphot, node.attr), node.attr
            # lc.dphot.plot()
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr == "dphot"
            ):
                assert hasattr(xr.Dataset().dphot, node.attr), node.attr


def test_files_named_in_the_documents_exist():
    for path in DOCUMENTS:
        for name in re.findall(r"`((?:examples|deploy)/[\w./-]*)`", path.read_text()):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_plots_named_in_the_documents_exist():
    names = re.findall(r"also ([\w, ]+), \.\.\.", DOCUMENTS[0].read_text())[0].split(", ")
    assert names and all(hasattr(xr.Dataset().dphot, name) for name in names)
