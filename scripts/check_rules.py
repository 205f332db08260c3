"""The rules of `make check` that only read text: arrows, dead files, words, sizes, links.

Every rule is a function from a Tree to a list of Violations and is listed in RULES. A rule must
have no false positive: what it cannot decide it lets pass. tests/check_test.py plants one violation
of each kind, so a rule that stops finding anything fails the suite.
"""

import ast
import os
import re
import subprocess
from typing import NamedTuple

CPP = (".h", ".cpp", ".cuh", ".cu", ".c")
CODE = CPP + (".py", ".pyi", ".sh", ".cmake")
# Every header of these folders is public. Elsewhere only folder/folder.h is.
LIBRARIES = {"base", "cpu", "tensor", "io", "sim", "net", "kv", "gpu"}
COLUMNS_MAX = 100       # of C++, which clang-format holds as well
COLUMNS_MAX_OTHER = 130  # of prose and scripts, which people break by hand
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800


class Violation(NamedTuple):
    file: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


class Tree:
    """The files that git tracks under `root`, and new ones it does not ignore; relative paths."""

    def __init__(self, root):
        self.root = os.path.abspath(root)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root, check=True, capture_output=True).stdout.decode()
        self.files = sorted(f for f in set(listed.split("\0")) - {""} if self._is_plain(f))
        self._texts = {}

    def _is_plain(self, path):
        full = self.path(path)
        return os.path.isfile(full) and not os.path.islink(full)

    def path(self, relative):
        return os.path.join(self.root, relative)

    def text(self, path):
        """The file's text; None if it is binary."""
        if path not in self._texts:
            with open(self.path(path), "rb") as f:
                data = f.read()
            try:
                self._texts[path] = None if b"\0" in data else data.decode()
            except UnicodeDecodeError:
                self._texts[path] = None
        return self._texts[path]

    def select(self, *suffixes, under=""):
        return [f for f in self.files if f.startswith(under) and f.endswith(suffixes)]

    def interpreter(self, path):
        """"python3", "bash", ... from the first line of a script; "" for anything else."""
        first = (self.text(path) or "").split("\n", 1)[0]
        return re.split(r"[/ ]", first.strip())[-1] if first.startswith("#!") else ""

    def is_python(self, path):
        return path.endswith((".py", ".pyi")) or self.interpreter(path).startswith("python")

    def is_shell(self, path):
        return path.endswith(".sh") or self.interpreter(path) in ("bash", "sh")

    def is_code(self, path):
        return (path.endswith(CODE) or os.path.basename(path) in ("CMakeLists.txt", "Makefile")
                or bool(self.interpreter(path)))


def line_of(text, position):
    return text.count("\n", 0, position) + 1


_CPP_NOISE = re.compile(
    r'//[^\n]*|/\*.*?\*/'
    r'|R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'", re.S)  # not the ' of 20'000


def blank(text, strings=True):
    """C++ text with comments, and string contents if asked, turned into spaces; same positions."""

    def spaces(match):
        found = match[0]
        if not found.startswith("/") and not strings:
            return found
        return re.sub(r"[^\n]", " ", found)

    return _CPP_NOISE.sub(spaces, text)


_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)


def includes(tree, path):
    """(line, "<" or '"', name) of every #include."""
    text = blank(tree.text(path) or "", strings=False)
    return [(line_of(text, m.start()), m[1], m[2]) for m in _INCLUDE.finditer(text)]


# --- arrows -------------------------------------------------------------------------------------

_THIRD_PARTY = re.compile(r"(fmt|spdlog|CLI|nlohmann|toml\+\+|simdjson|prometheus|pybind11)\b")


def read_arrows(tree):
    """({folder: [what it may use]}, {folder: line}, violations) from src/deps.txt."""
    uses, lines, found = {}, {}, []
    path = "src/deps.txt"
    for number, line in enumerate((tree.text(path) or "").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z_]+):((?: +[a-z_]+)*) *", line)
        if not match:
            found.append(Violation(path, number, "arrows", f"'{line}' is not 'folder: what it may "
                                   "use', lower case, separated by spaces"))
            continue
        folder, names = match[1], match[2].split()
        for name in names:
            if name not in uses:
                found.append(Violation(path, number, "arrows", f"{folder} lists {name}, which has "
                                       "no line above; a folder may use only folders above it"))
        uses[folder], lines[folder] = [n for n in names if n in uses], number
    return uses, lines, found


def check_include(uses, folder, name):
    """Why `folder` may not include "name"; None if it may."""
    other = name.split("/")[0]
    if other == folder:
        return None
    if other not in uses[folder]:
        return (f"src/{folder} may not include \"{name}\"; src/deps.txt allows it "
                + (", ".join(uses[folder]) or "no other folder"))
    if other not in LIBRARIES and folder != "cli" and name != f"{other}/{other}.h":
        return f"\"{name}\" is private to src/{other}; include \"{other}/{other}.h\""
    return None


def arrows(tree):
    uses, lines, found = read_arrows(tree)
    used = {folder: set() for folder in uses}
    unlisted = set()
    for path in tree.select(*CPP, under="src/"):
        folder = path.split("/")[1]
        if folder not in uses:
            if folder not in unlisted:
                found.append(Violation(path, 1, "arrows", f"src/{folder} has no line in "
                                       "src/deps.txt; add one with what it may use"))
            unlisted.add(folder)
            continue
        for line, kind, name in includes(tree, path):
            if kind == "<":
                # Headers of forward declarations alone cost nothing.
                if path.endswith(".h") and _THIRD_PARTY.match(name) and not name.endswith("_fwd.hpp"):
                    found.append(Violation(path, line, "arrows", f"<{name}> in a header; include "
                                           "third-party headers in .cpp files only"))
                continue
            used[folder].add(name.split("/")[0])
            if "src/" + name not in tree.files:
                found.append(Violation(path, line, "arrows", f"\"{name}\" is not a file under src/;"
                                       " write \"folder/file.h\", or <...> for a library"))
            elif why := check_include(uses, folder, name):
                found.append(Violation(path, line, "arrows", why))
    for folder, names in uses.items():
        if not tree.select(*CPP, under=f"src/{folder}/"):
            found.append(Violation("src/deps.txt", lines[folder], "arrows",
                                   f"src/{folder} has no sources; remove the line"))
            continue
        for name in names:
            if name not in used[folder]:
                found.append(Violation("src/deps.txt", lines[folder], "arrows", f"src/{folder} "
                                       f"includes nothing of {name}; remove it from the line"))
    return found + python_arrows(tree)


def python_arrows(tree):
    found = []
    for path in tree.select(*CPP, under="python/"):
        for line, kind, name in includes(tree, path):
            other = name.split("/")[0]
            if kind != '"' or "/" not in name or other in LIBRARIES or name == f"{other}/{other}.h":
                continue
            found.append(Violation(path, line, "arrows", f"python/ may not include \"{name}\"; "
                                   f"it may use public headers: \"{other}/{other}.h\", base/"))
    return found


# --- dead files ---------------------------------------------------------------------------------


def dead(tree):
    found = []
    included = {}  # header -> files that include it
    for path in tree.select(*CPP):
        for _, kind, name in includes(tree, path):
            if kind == '"':
                beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
                included.setdefault("src/" + name, set()).add(path)
                included.setdefault(beside, set()).add(path)
    lists = {f: tree.text(f) for f in tree.files if os.path.basename(f) == "CMakeLists.txt"}
    for path in tree.files:
        if not path.startswith(("src/", "tests/", "python/", "scripts/")):
            continue
        if path.endswith((".cpp", ".cu", ".c")) or tree.is_python(path) or tree.is_shell(path):
            if not is_named(tree, path, lists):
                found.append(Violation(path, 1, "dead", "no CMakeLists.txt, script or page names "
                                       "this file; use it or delete it"))
        elif re.fullmatch(r"src/(\w+)/\1\.h", path):
            pass  # a public header is for programs outside the tree, too
        elif path.endswith((".h", ".cuh")):
            if not included.get(path, set()) - {path} and not is_named(tree, path, lists):
                found.append(Violation(path, 1, "dead", "nothing includes this header; use it or "
                                       "delete it"))
    return found + dead_pages(tree)


def is_named(tree, path, lists):
    """Whether a CMakeLists.txt of the file's folder or one above names it; for scripts and modules,
    whether anything does."""
    name = os.path.basename(path)
    stem, suffix = os.path.splitext(name)
    near = [text for file, text in lists.items()
            if (os.path.dirname(path) + "/").startswith(os.path.dirname(file) + "/")]
    by_name = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)")
    if any(by_name.search(text) for text in near):
        return True
    if path.endswith(CPP):
        return False
    texts = [tree.text(f) or "" for f in tree.files
             if f != path and (tree.is_code(f) or f.endswith(".md"))]
    if any(by_name.search(text) for text in texts):
        return True
    by_stem = re.compile(rf"\b{re.escape(stem)}\b")  # hadal_script_test(x_test), import x
    return suffix == ".py" and (
        any(by_stem.search(text) for text in near)
        or any(re.search(rf"\b(import|from)\s+{re.escape(stem)}\b", text) for text in texts))


# --- Markdown -----------------------------------------------------------------------------------

_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")


def prose(text):
    """Markdown with code blocks and code spans turned into spaces; same positions."""
    code = re.compile(r"^(```+|~~~+)[^\n]*\n.*?^\1[^\n]*$|(`+)(?!`).+?(?<!`)\2(?!`)", re.M | re.S)
    return code.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def links(tree, path):
    """(line, file, anchor) of every relative link of a page."""
    text = prose(tree.text(path) or "")
    for match in _LINK.finditer(text):
        target = match[1]
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
            continue
        file, _, anchor = target.partition("#")
        base = os.path.dirname(path)
        yield (line_of(text, match.start()),
               os.path.normpath(os.path.join(base, file)) if file else path, anchor)


def anchors(text):
    """The anchors of a page's headings, by GitHub's rule."""
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", re.sub(r"^```.*?^```", "", text,
                                                           flags=re.M | re.S), re.M)
    plain = (re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)
    return set(plain)


def markdown(tree):
    found = []
    for path in tree.select(".md"):
        for line, target, anchor in links(tree, path):
            if not os.path.exists(tree.path(target)):
                found.append(Violation(path, line, "links", f"{target} does not exist"))
            elif anchor and target.endswith(".md"):
                with open(tree.path(target), encoding="utf-8") as f:
                    if anchor not in anchors(f.read()):
                        found.append(Violation(path, line, "links",
                                               f"{target} has no heading #{anchor}"))
    return found


def dead_pages(tree):
    """Pages that no chain of links from README.md reaches."""
    reached, queue = {"README.md"}, ["README.md"]
    while queue:
        page = queue.pop()
        if page not in tree.files:
            continue
        for _, target, _ in links(tree, page):
            if target.endswith(".md") and target not in reached:
                reached.add(target)
                queue.append(target)
    return [Violation(page, 1, "dead", "no link leads here from README.md; link it from the page "
                      "it belongs to")
            for page in tree.select(".md") if page not in reached]


# --- words --------------------------------------------------------------------------------------

# (pattern, what instead, files where it is allowed). Comments and strings are blank by then.
BANNED = [(re.compile(pattern), instead, re.compile(allowed or "$^"))
          for pattern, instead, allowed in [
    (r"\bstd::rand\b|(?<![\w:.>])(::)?(rand\(\)|srand\()",
     "hadal::Rng with a seed (base/rng.h)", None),
    (r"\bstd::random_device\b", "a seed from the caller's options", "src/base/"),
    (r"\bstd::(ranges::)?(random_)?shuffle\b", "hadal::shuffle (base/rng.h); the standard one "
     "differs between libraries", None),
    (r"\bstd::\w+_distribution\b", "hadal::Rng's functions (base/rng.h); the standard ones differ "
     "between libraries", None),
    (r"\bstd::default_random_engine\b", "hadal::Rng (base/rng.h)", None),
    (r"\bthis_thread::sleep_(for|until)\b|(?<![\w:.>])(::sleep|(::)?(u|nano)sleep)\(", "a "
     "condition, a deadline or the clock of base/, so that it can be simulated",
     "src/(base|net|io)/"),
    (r"#\s*include\s*<(iostream|print|format)>|\bstd::(cout|cerr|clog|format|print|println)\b",
     "fmt::format and fmt::print (<fmt/core.h>, in .cpp files)", None),
    (r"\busing\s+namespace\s+std\b", "std:: in front of the name", None),
    (r"\bv?(f|s|sn|d)?printf\(", "fmt::format or fmt::print", "src/base/check.cpp"),
    (r"#\s*include\s*<(cassert|assert\.h)>", "CHECK or DCHECK (base/check.h)", None),
    (r"\bco_(await|yield|return)\b", "a thread or an explicit state machine; g++ 12 miscompiles "
     "coroutines", None),
    (r"(?<![\w.>])(ato(i|l|ll|f)|str(cpy|cat|tok)|gets)\(", "std::from_chars, std::string or "
     "std::string_view", None),
]]
# Written in two pieces so that this file passes its own rules.
_LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
_MACHINE = re.compile(r"(?<![\w.~}-])/(wo" r"rk|farm|ho" r"me|ro" r"ot)/")
_REGISTRY = re.compile(r"np" r"mjs\.|deb" r"ian\.org|py" r"pi\.org|python" r"hosted")


def banned(tree):
    found = []
    for path in tree.select(*CPP):
        text = blank(tree.text(path) or "")
        for pattern, instead, allowed in BANNED:
            if allowed.match(path):
                continue
            for match in pattern.finditer(text):
                found.append(Violation(path, line_of(text, match.start()), "banned",
                                       f"{match[0].rstrip('(')}: use {instead}"))
    return found


def columns_max(path):
    return COLUMNS_MAX if path.endswith((".h", ".cpp", ".cuh")) else COLUMNS_MAX_OTHER


def too_wide(path, line):
    if len(line) <= columns_max(path):
        return False
    if path.endswith(".md") and line.lstrip().startswith("|"):
        return False
    # A long address cannot be broken; the rest of its line can.
    return len(re.sub(r"https?://\S+|\]\([^)]*\)", "", line)) > columns_max(path)


def line_rules(tree, path):
    found = []
    text = tree.text(path)
    for number, line in enumerate(text.split("\n"), 1):
        if too_wide(path, line):
            found.append(Violation(path, number, "columns", f"{len(line)} columns; at most "
                                   f"{columns_max(path)}"))
        if line != line.rstrip():
            found.append(Violation(path, number, "space", "space at the end of the line"))
        if "\t" in line and os.path.basename(path) != "Makefile":
            found.append(Violation(path, number, "space", "tab; use spaces"))
        if match := _LEFTOVER.search(line):
            found.append(Violation(path, number, "leftover", f"{match[0]}: do it, or write it "
                                   "down outside the sources"))
    if text and not text.endswith("\n"):
        found.append(Violation(path, text.count("\n") + 1, "space", "no newline at the end"))
    return found


def words(tree):
    found = []
    for path in tree.files:
        text = tree.text(path)
        if text is None:
            continue
        if tree.is_code(path) or path.endswith(".md"):
            found += line_rules(tree, path)
        for pattern, what in ((_MACHINE, "a path of one machine; make it relative"),
                              (_REGISTRY, "a registry's host; name the package instead")):
            for match in pattern.finditer(text):
                found.append(Violation(path, line_of(text, match.start()), "machine",
                                       f"'{match[0]}': {what}"))
    for path in tree.select(".h", ".cuh"):
        if not re.search(r"^#pragma once$", tree.text(path) or "", re.M):
            found.append(Violation(path, 1, "pragma", "no #pragma once"))
    return found + banned(tree)


# --- sizes --------------------------------------------------------------------------------------

_CLASS = re.compile(r"\b(class|struct|union|enum)\b(?:\s*(?:alignas\([^)]*\)|\[\[[^\]]*\]\]))*"
                    r"[^()=;]*$")
_NAMESPACE = re.compile(r"\bnamespace\b[^()=;]*$|\bextern\s*$")


def scope_kind(head, inside):
    """What the { after `head` opens, in a scope of kind `inside`."""
    if inside in ("function", "block"):
        return "table" if re.search(r"=\s*[\w:<>, ]*$", head) else "block"
    if inside in ("table", "init"):
        return inside
    if _NAMESPACE.search(head):
        return "scope"
    if _CLASS.search(head):
        return "scope"
    if head.rstrip().endswith("=") or ")" not in head:
        return "init"
    # A constructor's `: member_{value}` is no body: a body's { follows ) or } or a qualifier.
    if re.search(r"\)\s*:\s*(?!:)", head) and re.search(r"[\w>]\s*$", head):
        return "init"
    return "function"


def cpp_functions(text):
    """(first line, lines of code) of each function body; lines of tables are not counted."""
    code = blank(text)
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), code,
                  flags=re.M)
    code_lines = code.split("\n")
    stack = []  # of [kind, head's position, first line, lines of tables inside]
    functions, head = [], 0
    for match in re.finditer(r"[{};]", code):
        at, mark = match.start(), match[0]
        if mark == "{":
            inside = stack[-1][0] if stack else "scope"
            stack.append([scope_kind(code[head:at], inside), head, line_of(code, at), 0])
        elif mark == "}":
            if not stack:
                return []  # unbalanced, by preprocessor branches: nothing to say
            kind, outer_head, first, skipped = stack.pop()
            last = line_of(code, at)
            if kind == "table":
                skipped = max(0, last - first - 1)
            if kind == "function":
                cases = sum(bool(re.match(r"\s*case .*: return .*;$", line))
                            for line in code_lines[first - 1:last])
                functions.append((first, last - first + 1 - skipped - cases))
            elif stack:
                stack[-1][3] += skipped
            if kind == "init":  # `: member_{value} {`: the head goes on behind the braces
                head = outer_head
                continue
        head = at + 1
    return [] if stack else functions


def python_functions(text):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.lineno, node.end_lineno - node.lineno + 1)
            for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


def sizes(tree):
    found = []
    for path in tree.files:
        is_python = tree.is_python(path)
        if not (path.endswith(CPP) or is_python or tree.is_shell(path)):
            continue
        text = tree.text(path) or ""
        functions = []
        if is_python:
            try:
                functions = python_functions(text)
            except SyntaxError as error:
                found.append(Violation(path, error.lineno or 1, "syntax", error.msg))
        elif path.endswith(CPP):
            functions = cpp_functions(text)
        for line, count in functions:
            if count > FUNCTION_LINES_MAX:
                found.append(Violation(path, line, "sizes", f"a function of {count} lines; at "
                                       f"most {FUNCTION_LINES_MAX}: move a part out"))
        lines = text.count("\n")
        if lines > FILE_LINES_MAX:
            found.append(Violation(path, 1, "sizes", f"{lines} lines; at most {FILE_LINES_MAX}: "
                                   "split the file"))
    return found


RULES = {"arrows": arrows, "dead": dead, "links": markdown, "words": words, "sizes": sizes}
