#!/usr/bin/env python3
"""Checks the length of every file and function (CONTRIBUTING.md), and prints each that is too long.

Functions are found by their braces, which is right for code that clang-format has laid out: a
brace that follows a space and a parameter list opens a function; one that follows a name without
a space opens an initialiser.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["include", "src", "cli", "tests", "bench", "tools", "python", "examples"]

MAX_FILE = {".h": 500, ".c": 500, ".cc": 500, ".cu": 400, ".cuh": 400, ".py": 500, ".sh": 500}
MAX_MODEL_FILE = 400
MAX_FUNCTION = 60

# Comments, literals and preprocessor lines: their braces mean nothing.
NOISE = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|R"(?P<end>[^(\s]*)\(.*?\)(?P=end)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'"
    r"|^[ \t]*#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)
TEMPLATE = re.compile(r"^(\s*template\s*<.*?>\s*(?=[\w\[]))+")
ACCESS = {"public:", "protected:", "private:"}
SCOPE = re.compile(r"^\s*(inline\s+)?(namespace|class|struct|union|enum|extern)\b")


def kind_of_brace(statement, parentheses):
    """What a brace opens after this text: a scope, a function or an initialiser."""
    if parentheses or not statement or not statement[-1].isspace():
        return "initialiser"
    declaration = TEMPLATE.sub("", statement)
    if SCOPE.match(declaration) and not declaration.rstrip().endswith(")"):
        return "scope"
    return "function" if ")" in declaration and not re.search(r"[=,]\s*$", declaration) else "other"


def cpp_functions(text):
    """First line, length and head of each function outside of other functions."""
    text = NOISE.sub(lambda noise: "\n" * noise.group().count("\n") or " ", text)
    stack, statement, parentheses, line, first = [], "", 0, 1, 1
    for character in text:
        inside = bool(stack) and stack[-1][0] != "scope"
        if character == "{":
            kind = "inner" if inside else kind_of_brace(statement, parentheses)
            stack.append((kind, first, statement))
            if kind == "scope":
                statement = ""
        elif character == "}" and stack:
            kind, start, head = stack.pop()
            if kind == "function":
                yield start, line - start + 1, " ".join(head.split())
            if kind != "inner" and kind != "initialiser":
                statement = ""
        elif not inside:
            if not statement.strip():
                first = line
            statement += character
            if (character == ";" and not parentheses) or statement.strip() in ACCESS:
                statement = ""
            parentheses += (character == "(") - (character == ")")
        line += character == "\n"


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def problems(path):
    text = path.read_text()
    name = path.relative_to(ROOT)
    limit = MAX_MODEL_FILE if name.parts[:2] == ("src", "models") else MAX_FILE[path.suffix]
    length = text.count("\n")
    if length > limit:
        yield f"{name}: {length} lines, the budget is {limit}"
    if path.suffix == ".sh":
        return
    functions = python_functions if path.suffix == ".py" else cpp_functions
    for line, length, head in functions(text):
        if length > MAX_FUNCTION:
            yield f"{name}:{line}: {length} lines, the budget is {MAX_FUNCTION}: {head}"


def main():
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    paths = [path for path in paths if path.suffix in MAX_FILE]
    found = [problem for path in paths for problem in problems(path)]
    print("\n".join(found) if found else f"{len(paths)} files and their functions are in budget")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
