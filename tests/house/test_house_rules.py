"""Every rule of the house sees the breach it is made for, and lets the honest neighbour pass."""

import ast
from pathlib import Path

import pytest

from scripts import house_rules, house_texts, truthiness

ROOT = Path(__file__).resolve().parents[2]


def breaches(source: str, path: str = "gateway/services/example.py") -> list[str]:
    return [breach.text for breach in house_rules.check_source(path, source)]


def find_tested_numbers(source: str) -> list[str]:
    tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [text.split(" is a number")[0] for _, text in truthiness.find(tree, truthiness.numeric_attributes(classes))]


def long_function(line_count: int) -> str:
    """A function of that many lines besides its docstring."""
    return 'def f() -> None:\n    """Say.\n\n    More.\n    """\n' + "    pass\n" * (line_count - 1)


def test_a_function_may_have_sixty_lines_and_a_docstring() -> None:
    assert breaches(long_function(60)) == []
    assert breaches(long_function(61)) == ["f has 61 lines, at most 60"]


def test_methods_and_async_functions_count_too() -> None:
    body = "".join(f"        x{i} = {i}\n" for i in range(60))
    source = f"class A:\n    async def g(self) -> None:\n{body}"
    assert breaches(source) == ["g has 61 lines, at most 60"]


def test_blank_and_comment_lines_do_not_make_a_module_long() -> None:
    assert breaches("x = 1\n# why\n\n" * 400) == []
    assert breaches("x = 1\n" * 401) == ["401 lines of code, at most 400: split it by meaning"]


@pytest.mark.parametrize("stem", ["utils", "string_helpers", "common", "task_manager", "base"])
def test_a_module_is_named_for_what_it_is_about(stem: str) -> None:
    assert len(breaches("", f"gateway/rpc/{stem}.py")) == 1


@pytest.mark.parametrize("stem", ["database", "commonwealth", "management", "baselines"])
def test_a_name_that_only_contains_a_vague_word_passes(stem: str) -> None:
    assert breaches("", f"gateway/rpc/{stem}.py") == []


def test_nine_of_ten_functions_are_short() -> None:
    short, long = long_function(5), long_function(36)
    rename = [short.replace("f()", f"f{i}()") for i in range(8)] + [long.replace("f()", f"g{i}()") for i in range(2)]
    found = house_rules.check_tree({"gateway/services/example.py": "".join(rename)})
    assert [breach.text for breach in found] == ["nine of ten functions have up to 36 lines, at most 35"]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def f(a) -> None: ...", "a"),
        ("def f(a: int): ...", "its result"),
        ("def f(*args, **kwargs) -> None: ...", "args, kwargs"),
        ("async def f(a: int, *, b) -> None: ...", "b"),
    ],
)
def test_every_argument_and_result_has_a_type(source: str, missing: str) -> None:
    assert breaches(source) == [f"f gives no type for {missing}"]


def test_self_and_cls_need_no_type() -> None:
    assert (
        breaches("class A:\n    def f(self, a: int) -> int: ...\n    @classmethod\n    def g(cls) -> None: ...") == []
    )


@pytest.mark.parametrize(
    "caught", ["", " Exception", " BaseException", " (ValueError, Exception)", " Exception as error"]
)
def test_catching_everything_is_found(caught: str) -> None:
    source = f"try:\n    pass\nexcept{caught}:\n    pass\n"
    assert len(breaches(source)) == 1
    assert breaches(source, "gateway/rpc/door.py") == []
    assert breaches(source, "gateway/app/supervise.py") == []


def test_cleaning_up_and_raising_again_is_fine_but_raising_another_is_not() -> None:
    assert breaches("try:\n    pass\nexcept BaseException:\n    close()\n    raise\n") == []
    assert len(breaches("try:\n    pass\nexcept Exception:\n    raise ValueError\n")) == 1


def test_files_allowed_to_catch_everything_exist() -> None:
    assert all((ROOT / path).is_file() for path in house_rules.BROAD_EXCEPT_ALLOWED)


@pytest.mark.parametrize(
    "call",
    [
        "asyncio.create_task(x())",
        "asyncio.ensure_future(x())",
        "asyncio.get_running_loop().create_task(x())",
        "get_event_loop().create_task(x())",
        "loop.create_task(x())",
        "self._loop.create_task(x())",
    ],
)
def test_a_task_that_nobody_waits_for_is_found(call: str) -> None:
    assert len(breaches(call)) == 1


def test_a_task_of_a_group_is_fine() -> None:
    assert breaches("group.create_task(x())\nself._tasks.create_task(x())") == []


@pytest.mark.parametrize(
    "annotation",
    ["float", "float | None", "None | int", "Decimal | None", "Optional[float]", "'float | None'", "decimal.Decimal"],
)
def test_a_number_is_recognised(annotation: str) -> None:
    assert find_tested_numbers(f"def f(a: {annotation}) -> None:\n    b = a or 1\n") == ["a"]


@pytest.mark.parametrize(
    "annotation", ["str", "str | None", "list[float]", "float | str", "tuple[int, ...] | None", "bool"]
)
def test_another_type_may_be_tested(annotation: str) -> None:
    assert find_tested_numbers(f"def f(a: {annotation}) -> None:\n    b = a or 1\n") == []


@pytest.mark.parametrize(
    "statement",
    [
        "x = a or 1.0",
        "x = a and 1.0",
        "x = 1 if a else 2",
        "if a: pass",
        "if not a: pass",
        "while a: pass",
        "assert a",
        "x = bool(a)",
        "x = [1 for i in y if a]",
        "x = y or a or 1",
        "if y and a: pass",
    ],
)
def test_every_way_to_ask_a_number_is_found(statement: str) -> None:
    assert find_tested_numbers(f"def f(a: float | None, y: list[str]) -> None:\n    {statement}\n") == ["a"]


@pytest.mark.parametrize(
    "statement",
    [
        "x = 1.0 if a is None else a",
        "if a == 0: pass",
        "x = y or a",
        "if a > 0 and a < 1: pass",
        "x = max(a, 1)",
        "if not y: pass",
    ],
)
def test_a_comparison_is_fine(statement: str) -> None:
    assert find_tested_numbers(f"def f(a: float, y: str) -> None:\n    {statement}\n") == []


def test_an_annotated_variable_is_known_and_an_inner_function_hides_it() -> None:
    assert find_tested_numbers("def f() -> None:\n    a: float | None = g()\n    b = a or 1\n") == ["a"]
    inner = "def f(a: float) -> None:\n    def g(a: str) -> str:\n        return a or '-'\n"
    assert find_tested_numbers(inner) == []


def test_attributes_are_known_where_every_class_agrees() -> None:
    agreed = "class A:\n    limit_kw: float | None\nclass B:\n    limit_kw: float\n"
    divided = "class A:\n    value: float | None\nclass B:\n    value: str\n"
    assert find_tested_numbers(agreed + "x = a.limit_kw or 22.0") == ["a.limit_kw"]
    assert find_tested_numbers(divided + "x = a.value or 22.0") == []


def test_properties_are_attributes_and_methods_are_not() -> None:
    source = "class A:\n    @property\n    def sum_kw(self) -> float: ...\n    def max_kw(self) -> float: ...\n"
    assert find_tested_numbers(source + "x = a.sum_kw or 1\ny = a.max_kw or 1") == ["a.sum_kw"]


def test_the_root_package_stays_empty() -> None:
    found = house_rules.check_tree({"gateway/__init__.py": "import grpc\n"})
    assert [breach.path for breach in found] == ["gateway/__init__.py"]


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("gateway/rpc/door.py", True),
        ("bidding/greedy.py", True),
        ("scripts/environment.py", True),
        ("gateway/v1/types_pb2.py", False),
        ("gateway/storage/migrations/versions/r0001.py", False),
        ("tests/house/test_house_rules.py", False),
    ],
)
def test_generated_code_and_migrations_have_other_rules(path: str, is_ours: bool) -> None:
    assert house_rules.is_ours(path) is is_ours


@pytest.mark.timeout(120)  # reads every file of the project
def test_the_whole_tree_follows_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    code = house_rules.main()
    assert (capsys.readouterr().out, code) == ("", 0)


@pytest.mark.parametrize(
    "line", ["# TO~DO: later", "# FIX~ME", "x = 1  # pragma:~ no cover", "raise Not~ImplementedError"]
)
def test_unfinished_work_is_found(line: str) -> None:
    """The tilde keeps this file itself clean."""
    found = house_texts.find({"gateway/app/gateway.py": line.replace("~", "")}, ROOT)
    assert [text for _, _, text in found] == ["unfinished or switched off: finish it"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.invalid/simple",
        "--find-links wheels",
        '"resolved": "x"',
        "a @ git+ssh://example.invalid/a",
    ],
)
@pytest.mark.parametrize(
    "path", ["requirements/run.txt", "gateway/web/package-lock.json", ".npmrc", "uv.lock", "pip.conf"]
)
def test_an_address_in_a_lock_file_is_found(path: str, line: str) -> None:
    assert len(list(house_texts.find({path: line}, ROOT))) == 1


def test_an_address_elsewhere_is_fine() -> None:
    assert list(house_texts.find({"README.md": "https://example.invalid"}, ROOT)) == []


def test_a_path_of_this_machine_is_found_in_any_text(tmp_path: Path) -> None:
    found = house_texts.find({"config/demo.toml": f"\nstore = '{tmp_path}/store'"}, tmp_path)
    assert list(found) == [("config/demo.toml", 2, "a path of this machine")]


def test_a_room_without_import_rule_is_found(tmp_path: Path) -> None:
    (tmp_path / "gateway" / "attic").mkdir(parents=True)
    (tmp_path / "gateway" / "attic" / "__init__.py").touch()
    (tmp_path / "gateway" / "clock.py").touch()
    rules = '[tool.importlinter]\n[[tool.importlinter.contracts]]\nlayers = ["(gateway.app)", "(gateway.clock) : (gateway.ids)"]\n'
    (tmp_path / "pyproject.toml").write_text(rules)
    assert house_texts.find_unruled_rooms(tmp_path) == ["gateway.attic stands in no import rule"]


def test_files_are_listed_with_and_without_git(tmp_path: Path) -> None:
    for name in ("a.py", ".venvs/run/b.py", ".mypy_cache/c.json", "gateway/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert house_texts.list_files(tmp_path) == ["a.py", "gateway/d.py"]
    assert "pyproject.toml" in house_texts.list_files(ROOT)
