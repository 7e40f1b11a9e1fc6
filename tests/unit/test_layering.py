"""The three floors: each sees only those below it, and none keeps variables of its own.

src/base and src/core call neither the operating system nor libuv nor a clock; memory comes from
one interface. Every rule is also shown to find a fault that is planted in a copy of the tree.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

BASE_HEADERS = {"buffer", "bytes", "check", "hash", "heap", "list", "random"}
PLAIN_C_HEADERS = {"errno.h", "inttypes.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h",
                   "stdio.h", "stdlib.h", "string.h"}
BASE_LIBRARY_HEADERS = {"xxhash.h"}
CORE_LIBRARY_HEADERS = {"uthash.h"}

# What any object of base and core may call that is not defined there.
PURE_SYMBOLS = {"memchr", "memcmp", "memcpy", "memmove", "memset", "snprintf", "strchr", "strcmp", "strcspn",
                "strlen", "strncmp", "vsnprintf", "bcmp", "__stack_chk_fail",
                "_GLOBAL_OFFSET_TABLE_"}
# What only one of them may.
SYMBOLS_OF = {"base/heap.o": {"calloc", "free", "malloc", "realloc"},
              "base/check.o": {"abort", "fprintf", "fwrite", "stderr"},
              "core/link_check.o": {"qsort"}, "core/storage_list.o": {"qsort"},
              "core/command_numbers.o": {"strtold", "__errno_location"}}

MUTABLE_SECTIONS = set("bBdDC")


def sources(root, floor):
    return sorted((root / "src" / floor).glob("*.c"))


# --- includes --------------------------------------------------------------------------------

def includes(path):
    """[(line number, how it is written)], such as "kv/buffer.h" with its quotes, or <errno.h>."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(.*?)\s*$', line)
        if match:
            found.append((number, match.group(1)))
    return found


def allowed_includes(root, floor):
    public = {header.stem for header in (root / "include/kv").glob("*.h")}
    base = {f'"kv/{name}.h"' for name in BASE_HEADERS}
    plain = {f"<{name}>" for name in PLAIN_C_HEADERS}
    if floor == "base":
        return base | plain | {f"<{name}>" for name in BASE_LIBRARY_HEADERS}
    private = {f'"{header.name}"' for header in (root / "src/core").glob("*.h")}
    return (plain | private | {f'"kv/{name}.h"' for name in public} |
            {f"<{name}>" for name in CORE_LIBRARY_HEADERS})


def floor_of_header(header):
    return "base" if header.stem in BASE_HEADERS else "core"


def include_faults(root):
    files = [(path, floor_of_header(path)) for path in sorted((root / "include/kv").glob("*.h"))]
    for floor in ("base", "core"):
        files += [(path, floor) for path in sorted((root / "src" / floor).glob("*.[ch]"))]
    faults = []
    for path, floor in files:
        allowed = allowed_includes(root, floor)
        faults += [f"{path.relative_to(root)}:{number}: {floor} includes {name}"
                   for number, name in includes(path) if name not in allowed]
    core_private = {f'"{header.name}"' for header in (root / "src/core").glob("*.h")}
    for path in sorted((root / "src/shell").glob("*.[ch]")):
        faults += [f"{path.relative_to(root)}:{number}: the shell includes {name} of the core"
                   for number, name in includes(path) if name in core_private]
    return faults


# --- objects ---------------------------------------------------------------------------------

def flags_of_packages():
    output = subprocess.run(["pkg-config", "--cflags", "libuv", "inih"], check=True,
                            capture_output=True, text=True).stdout
    return output.split()


def compile_one(root, source, out):
    """Without position independence, so that a constant table of pointers counts as constant."""
    target = out / source.parent.name / (source.stem + ".o")
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-fno-pie",
                    "-U_FORTIFY_SOURCE", "-I", root / "include", "-I", root / "src/shell",
                    "-I", out / "generated", *flags_of_packages(), "-c", source, "-o", target],
                   check=True)
    return target


def compile_floors(root, floors, out):
    """{"base/buffer.o": its path}"""
    generated = out / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    version = (root / "src/version.h.in").read_text()
    (generated / "version.h").write_text(re.sub(r"@\w+@", "0", version))
    wanted = [source for floor in floors for source in sources(root, floor)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        targets = list(pool.map(lambda source: compile_one(root, source, out), wanted))
    return {f"{target.parent.name}/{target.name}": target for target in targets}


def symbols(target):
    """[(kind, name)] as nm tells them."""
    output = subprocess.run(["nm", "-P", target], check=True, capture_output=True, text=True).stdout
    return [(line.split()[1], line.split()[0]) for line in output.splitlines()]


def symbol_faults(objects):
    """Checks what base and core want from elsewhere; base, what it wants from core."""
    table = {name: symbols(path) for name, path in objects.items() if not name.startswith("shell/")}
    defined = {floor: {symbol for name, listed in table.items() if name.startswith(floor)
                       for kind, symbol in listed if kind not in "Uw"} for floor in ("base", "core")}
    faults = []
    for name, listed in sorted(table.items()):
        known = PURE_SYMBOLS | SYMBOLS_OF.get(name, set()) | defined["base"]
        if name.startswith("core/"):
            known |= defined["core"]
        faults += [f"{name} wants {symbol}" for kind, symbol in listed
                   if kind in "Uw" and symbol not in known]
    return faults


def variable_faults(objects):
    return [f"{name} has the variable {symbol}" for name, path in sorted(objects.items())
            for kind, symbol in symbols(path) if kind in MUTABLE_SECTIONS]


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return compile_floors(ROOT, ("base", "core", "shell"), tmp_path_factory.mktemp("objects"))


# --- the rules -------------------------------------------------------------------------------

def test_every_floor_has_sources():
    assert all(sources(ROOT, floor) for floor in ("base", "core", "shell"))
    assert {header.stem for header in (ROOT / "include/kv").glob("*.h")} > BASE_HEADERS


def test_includes_point_downward_only():
    assert include_faults(ROOT) == []


def test_base_and_core_call_nothing_outside(objects):
    assert symbol_faults(objects) == []


def test_no_floor_has_variables_at_file_scope(objects):
    assert variable_faults(objects) == []


# --- the rules find what is planted ----------------------------------------------------------

def plant(tmp_path, path, line):
    """A copy of the tree, with one line before the first one of that file that is no comment."""
    copy = tmp_path / "tree"
    for part in ("include", "src"):
        shutil.copytree(ROOT / part, copy / part)
    target = copy / path
    lines = target.read_text().splitlines()
    last_include = max(i for i, text in enumerate(lines) if text.startswith("#include"))
    target.write_text("\n".join(lines[:last_include + 1] + [line] + lines[last_include + 1:]) + "\n")
    return copy


@pytest.mark.parametrize("path, line", [
    ("src/base/buffer.c", '#include "kv/record.h"'),
    ("src/base/buffer.c", "#include <unistd.h>"),
    ("include/kv/buffer.h", "#include <uv.h>"),
    ("include/kv/random.h", '#include "kv/moment.h"'),
    ("src/core/store.c", "#include <time.h>"),
    ("src/core/link.c", "  #  include <sys/socket.h>"),
    ("src/core/node.c", '#include "log.h"'),
    ("src/core/link_internal.h", "#include <uv.h>"),
    ("include/kv/session.h", '#include "../../src/shell/conn.h"'),
    ("src/shell/conn.c", '#include "link_internal.h"'),
])
def test_an_include_that_points_upward_is_found(tmp_path, path, line):
    faults = include_faults(plant(tmp_path, path, line))
    assert len(faults) == 1 and faults[0].startswith(path), faults


@pytest.mark.parametrize("path, line, symbol", [
    ("src/core/stamp.c", "long time(long *); long planted(void); "
                         "long planted(void) { return time((long *)0); }", "time"),
    ("src/core/notice.c", "int uv_run(void); int planted(void); "
                          "int planted(void) { return uv_run(); }", "uv_run"),
    ("src/core/record.c", "#include <stdlib.h>\n"
                          "void *planted(void); void *planted(void) { return malloc(7); }",
     "malloc"),
    ("src/core/reply.c", "void planted(void); void planted(void) { printf(\"%d\", 1); }", "printf"),
    ("src/base/random.c", "int stamp_next(void); int planted(void); "
                          "int planted(void) { return stamp_next(); }", "stamp_next"),
])
def test_a_call_to_the_outside_is_found(tmp_path, objects, path, line, symbol):
    copy = plant(tmp_path, path, line)
    target = compile_one(copy, copy / path, tmp_path)
    name = f"{target.parent.name}/{target.name}"
    assert symbol_faults({**objects, name: target}) == [f"{name} wants {symbol}"]


@pytest.mark.parametrize("path, line, name", [
    ("src/base/bytes.c", "static int planted; int *where(void); "
                         "int *where(void) { return &planted; }", "planted"),
    ("src/core/frame.c", "int planted = 1;", "planted"),
    ("src/core/line.c", "int *planted(void); int *planted(void) { static int kept; return &kept; }",
     "kept"),
    ("src/core/members.c", "const char *planted = \"a pointer that may change\";", "planted"),
    ("src/shell/value.c", "char planted[4096];", "planted"),
])
def test_a_variable_is_found(tmp_path, objects, path, line, name):
    copy = plant(tmp_path, path, line)
    generated = tmp_path / "generated"
    generated.mkdir()
    target = compile_one(copy, copy / path, tmp_path)
    faults = variable_faults({**objects, f"{target.parent.name}/{target.name}": target})
    assert len(faults) == 1 and name in faults[0], faults


def test_a_constant_table_of_pointers_is_no_variable(tmp_path, objects):
    copy = plant(tmp_path, "src/core/stamp.c",
                 "const char *const planted[] = {\"a\", \"b\"};")
    target = compile_one(copy, copy / "src/core/stamp.c", tmp_path)
    assert variable_faults({**objects, "core/stamp.o": target}) == []
