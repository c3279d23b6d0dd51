"""Writing so that nothing is lost: every call may fail, and the process may die at any of them."""

from __future__ import annotations

import ast
import errno
import os
import stat
from pathlib import Path

import pytest

import unspool.training
from faults import FULL_OR_FAILING, FailAt, in_child, killed_at_every_call, through, without_sync
from unspool.errors import RunError, TrainingError
from unspool.training import durable

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "note"
    path.write_bytes(b"old" * 100)
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def make_folder(folder: Path, *, replace: bool = False, text: bytes = b"new") -> None:
    with durable.appearing(folder, replace=replace) as temporary:
        durable.write_new(temporary / "a", text)
        (temporary / "below").mkdir()
        durable.write_new(temporary / "below" / "b", text * 2)


MADE = {"a": b"new", "below": None, "below/b": b"newnew"}


@forks
def test_file_holds_the_old_or_the_new_content_when_killed_at_any_call(old):
    def prepare(number):
        old.write_bytes(b"old" * 100)
        return lambda: durable.write_file(old, b"new" * 200)

    seen = []
    for _ in killed_at_every_call(prepare):
        assert old.read_bytes() in (b"old" * 100, b"new" * 200)
        seen.append(old.read_bytes())
    assert seen[-1] == b"new" * 200
    assert len(seen) > 6
    durable.sweep(old.parent)
    assert [path.name for path in old.parent.iterdir()] == ["note"]


@pytest.mark.parametrize("code", FULL_OR_FAILING.values(), ids=FULL_OR_FAILING)
def test_file_keeps_its_content_when_any_call_fails(old, code):
    for number in range(1, 100):
        old.write_bytes(b"old" * 100)
        fault = FailAt(number, code)
        with through(fault):
            try:
                durable.write_file(old, b"new" * 200)
            except OSError as error:
                assert error.errno == code
        assert old.read_bytes() in (b"old" * 100, b"new" * 200)
        assert [path.name for path in old.parent.iterdir()] == ["note"]
        if not fault.failed:
            break
    assert old.read_bytes() == b"new" * 200
    assert number > 6


@forks
def test_folder_is_absent_or_complete_when_killed_at_any_call(tmp_path):
    folder = tmp_path / "made"
    seen = []

    def prepare(number):
        if folder.exists():
            durable.remove_tree(folder)
        return lambda: make_folder(folder)

    for _ in killed_at_every_call(prepare):
        seen.append(folder.exists())
        assert not folder.exists() or contents(folder) == MADE
        durable.sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"made"}
    assert seen[0] is False
    assert seen[-1] is True


@forks
def test_replaced_folder_is_old_or_new_after_a_sweep_when_killed_at_any_call(tmp_path):
    folder = tmp_path / "made"
    seen = []

    def prepare(number):
        if folder.exists():
            durable.remove_tree(folder)
        make_folder(folder, text=b"old")
        return lambda: make_folder(folder, replace=True)

    for _ in killed_at_every_call(prepare):
        durable.sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["made"]
        seen.append((folder / "a").read_bytes())
        assert contents(folder) == {
            "a": seen[-1],
            "below": None,
            "below/b": seen[-1] * 2,
        }
    assert seen[0] == b"old"
    assert seen[-1] == b"new"


@pytest.mark.parametrize("replace", [False, True])
def test_folder_is_as_it_was_and_nothing_is_left_over_when_any_call_fails(tmp_path, replace):
    folder = tmp_path / "made"
    for number in range(1, 100):
        if folder.exists():
            durable.remove_tree(folder)
        if replace:
            make_folder(folder, text=b"old")
        before = contents(folder)
        fault = FailAt(number, errno.EIO)
        with through(fault):
            try:
                make_folder(folder, replace=replace)
            except OSError as error:
                assert error.errno == errno.EIO
        assert contents(folder) in (before, MADE)
        if not fault.failed:
            break
        durable.sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"made"}
    assert contents(folder) == MADE
    assert number > 15


def test_every_file_and_folder_is_synced_before_the_rename_that_shows_it(tmp_path):
    paths, unsynced, renamed = {}, set(), []

    def watch(call, *arguments):
        result = call(*arguments)
        if call is os.open:
            paths[result] = Path(arguments[0])
            if arguments[1] & os.O_CREAT:
                unsynced.update({paths[result], paths[result].parent})
        elif call is os.write:
            unsynced.add(paths[arguments[0]])
        elif call is os.mkdir:
            unsynced.add(Path(arguments[0]).parent)
        elif call is os.fsync:
            unsynced.discard(paths[arguments[0]])
        elif call in (os.rename, os.replace):
            inside = {path for path in unsynced if path.is_relative_to(arguments[0])}
            assert not inside, "renamed before it was on the disk"
            unsynced.add(Path(arguments[1]).parent)
            renamed.append(Path(arguments[1]).name)
        return result

    with through(watch):
        durable.write_file(tmp_path / "note", b"text")
        assert not unsynced
        make_folder(tmp_path / "made")
        assert not unsynced
        durable.make_folders(tmp_path / "one" / "two")
        assert not unsynced
    assert renamed == ["note", "made"]


def test_sweep_takes_our_leftovers_and_nothing_else(tmp_path):
    for name in ("mine", "notes.unfinished", "notes.replaced", "x.1234567.unfinished"):
        (tmp_path / name).mkdir()
    (tmp_path / "gone.0123abcd.unfinished" / "deep").mkdir(parents=True)
    (tmp_path / "gone.0123abcd.unfinished" / "deep" / "file").write_text("x")
    (tmp_path / "file.0123abcd.unfinished").write_text("x")
    (tmp_path / "mine.0123abcd.replaced").mkdir()
    (tmp_path / "lost.0123abcd.replaced").mkdir()
    swept = durable.sweep(tmp_path)
    assert swept == [
        "file.0123abcd.unfinished",
        "gone.0123abcd.unfinished",
        "lost.0123abcd.replaced",
        "mine.0123abcd.replaced",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        "lost",
        "mine",
        "notes.unfinished",
        "notes.replaced",
        "x.1234567.unfinished",
    }


def test_sweep_follows_no_link_out_of_the_folder(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("x")
    leftover = tmp_path / "inside" / "a.0123abcd.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "link").symlink_to(tmp_path / "outside")
    durable.sweep(tmp_path / "inside")
    assert not leftover.exists()
    assert (tmp_path / "outside" / "precious").read_text() == "x"


def test_append_leaves_no_part_of_a_line_when_the_disk_fills_within_it(old):
    before = old.read_bytes()
    for number in range(1, 100):
        fault = FailAt(number, errno.ENOSPC)
        with through(fault):
            try:
                durable.append(old, b"a long line\n", sync=True)
            except OSError:
                assert old.read_bytes() in (before, before + b"a long line\n")
        durable.truncate(old, len(before))
        if not fault.failed:
            break
    assert number > 3


def test_short_writes_are_continued_until_all_is_written(tmp_path):
    def three_bytes_at_a_time(call, *arguments):
        if call is os.write:
            return os.write(arguments[0], arguments[1][:3])
        return call(*arguments)

    with through(three_bytes_at_a_time):
        durable.write_new(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, ["no space left", "needed 2,048 bytes", "free"]),
        (errno.EDQUOT, ["quota", "needed 2,048 bytes", "free"]),
        (errno.EROFS, ["is read-only"]),
        (errno.EACCES, ["permission denied"]),
        (errno.EPERM, ["permission denied"]),
        (errno.EIO, [os.strerror(errno.EIO)]),
    ],
)
def test_error_is_one_line_with_volume_and_reason(tmp_path, code, words):
    path = tmp_path / "two\nlines"
    with (
        pytest.raises(TrainingError) as raised,
        durable.told(path, "save", TrainingError, needed=2048),
    ):
        raise OSError(code, os.strerror(code))
    text = str(raised.value)
    assert text.isprintable()
    for word in [*words, str(tmp_path), f"volume {durable.volume_of(tmp_path)}"]:
        assert word in text


def test_free_space_is_that_of_the_volume_even_for_a_path_that_does_not_exist(tmp_path):
    assert os.path.ismount(durable.volume_of(tmp_path / "no" / "such"))
    assert durable.free_bytes(tmp_path / "no" / "such") > 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "missing", "large"])
def test_reading_refuses_all_but_regular_files_of_fitting_size(old, kind):
    path = old.with_name("odd")
    old.write_bytes(b"short")
    make = {
        "link": lambda: path.symlink_to(old),
        "dangling link": lambda: path.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "missing": lambda: None,
        "large": lambda: path.write_bytes(bytes(11)),
    }
    make[kind]()
    with pytest.raises(RunError), durable.told(path, "read", RunError):
        durable.read_file(path, limit=10)


def test_hash_of_a_file_is_the_hash_of_its_bytes(old):
    assert durable.sha256_of_file(old) == durable.sha256(old.read_bytes())


@forks
def test_files_and_folders_get_the_ordinary_permissions(tmp_path):
    def make():
        os.umask(0o027)
        make_folder(tmp_path / "made")

    assert in_child(make, without_sync) == 0
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "made" / "a").stat().st_mode) == 0o640


def test_every_file_system_call_goes_through_the_one_place():
    """Outside `system`, no call to the functions and methods that touch the disk."""
    folder = Path(unspool.training.__file__).parent
    paths = [
        folder / f"{name}.py"
        for name in ("durable", "checkpoint", "manifest", "run", "lock", "layout", "tensor_file")
    ]
    methods = "open mkdir rename replace unlink rmdir touch exists is_file is_dir stat iterdir glob"
    methods += " write_text write_bytes read_text read_bytes symlink_to save_file load_file"
    pure = {"os.getpid", "os.strerror"}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            direct = called.startswith(("os.", "shutil.", "fcntl.", "msvcrt.")) or called == "open"
            method = isinstance(node.func, ast.Attribute) and node.func.attr in methods.split()
            known = called in pure or called.startswith(("durable.", "text.", "name.", "Run."))
            assert known or not (direct or method), f"{path.name}:{node.lineno}: {called}"
