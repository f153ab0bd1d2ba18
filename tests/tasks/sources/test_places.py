"""What a path stands for, and archives that are refused. Expected values are by hand."""

import io
import json
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from tasks.sources import FORMATS, archives, places
from tasks.sources.archives import Limits
from tests.tasks.deliveries import deliver_files
from tests.tasks.sources.reading import parse, said, write

LINE = json.dumps({"prompt": "p", "chosen": "x", "rejected": "y"}).encode() + b"\n"


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tgz', 'gz')}" if path.suffix != ".tar" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def names(path: Path) -> list[str]:
    return [name for name, _ in FORMATS["chosen_rejected"].parse(path, None)]


MEMBERS = {"a/rows.jsonl": LINE, "b/rows.jsonl": LINE * 2, "README.md": b"read me", "__MACOSX/rows.jsonl": b"\0"}
MEMBERS |= {".x.jsonl": b"\0", "c.csv": b"prompt,chosen,rejected\n1,2,3\n"}
WRITERS = {"export.zip": zipped, "export.tar": tarred, "export.tar.gz": tarred, "export.tgz": tarred, "export.tar.bz2": tarred}


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_gives_its_members_or_one_or_those_that_fit(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, MEMBERS)
    assert names(path) == [f"{name}/a/rows.jsonl", *[f"{name}/b/rows.jsonl"] * 2, f"{name}/c.csv"]
    assert names(path / "b/rows.jsonl") == [f"{name}/b/rows.jsonl"] * 2
    assert names(path / "b") == [f"{name}/b/rows.jsonl"] * 2
    assert names(path / "*/rows.jsonl") == [f"{name}/a/rows.jsonl", *[f"{name}/b/rows.jsonl"] * 2]
    assert places.files(path / "b") == [path]
    with pytest.raises(InputError, match="no such file"):
        names(path / "d.jsonl")


def test_a_compressed_member_and_a_table_in_an_archive_are_read(tmp_path: Path) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(LINE)]), table)
    path = zipped(tmp_path / "x.zip", {"a.jsonl.gz": gzip.compress(LINE), "b.parquet": table.getvalue()})
    assert [said(row) for row in parse("chosen_rejected", path)] == [[("x", "y", "a", None)]] * 2


def test_patterns_and_folders(tmp_path: Path) -> None:
    for name in ("2026-01/a.jsonl", "2026-01/b.jsonl.gz.txt", "2026-02/a.jsonl", ".git/a.jsonl", "notes.md"):
        write(tmp_path / "in" / name, [json.loads(LINE)])
    assert names(tmp_path / "in") == ["2026-01/a.jsonl", "2026-02/a.jsonl"]
    assert names(tmp_path / "in/2026-*/a.jsonl") == ["2026-01/a.jsonl", "2026-02/a.jsonl"]
    assert names(tmp_path / "in/**/a.jsonl")[-1] == "2026-02/a.jsonl"
    assert [places.file_name(tmp_path / "in/*/a.jsonl", file) for file in places.files(tmp_path / "in/*2/a.jsonl")] == ["2026-02/a.jsonl"]
    for nothing in ("in/2027-*", "in/2026-01/c.jsonl", "in/notes.md", "out"):
        with pytest.raises(InputError, match="there is no file"):
            places.files(tmp_path / nothing)


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["../rows.jsonl", "/rows.jsonl", "a/../../rows.jsonl", "a\\..\\rows.jsonl", "C:/rows.jsonl", ".."])
@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_a_member_that_leads_out_is_refused_and_nothing_is_written(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = WRITERS[f"export{Path(kind).suffix}"](tmp_path / "deep" / kind, {name: LINE})
    with pytest.raises(InputError, match="leads out of the archive"):
        names(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["deep", kind]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(link("rows.jsonl", kind))
    with pytest.raises(InputError, match="link or a device"):
        names(tmp_path / "x.tar")


def test_links_and_encrypted_members_of_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("rows.jsonl")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="link or a device"):
        names(tmp_path / "x.zip")
    content = bytearray(zipped(tmp_path / "y.zip", {"rows.jsonl": LINE}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        names(tmp_path / "y.zip")


LIMITS = {
    "members": (Limits(members=3), "more than 3 members"),
    "one member": (Limits(member_bytes=len(LINE)), "member b/rows.jsonl expands to more than"),
    "in all": (Limits(total_bytes=2 * len(LINE)), "it expands to more than"),
    "ratio": (Limits(ratio=0, free_bytes=10), "more than 0 times"),
}


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
@pytest.mark.parametrize("limit", LIMITS)
def test_an_archive_beyond_a_limit_is_refused(limit: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, message = LIMITS[limit]
    monkeypatch.setattr(archives, "LIMITS", limits)
    with pytest.raises(InputError, match=r"expands|members") as error:
        names(WRITERS[f"export{Path(kind).suffix}"](tmp_path / kind, MEMBERS))
    assert kind in error.value.where
    if kind == "x.zip":
        assert message in error.value.what


def test_a_bomb_is_refused_by_what_comes_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 MB of empty lines in a zip of 0.2 MB: refused once more than 64 MiB came out, and nothing is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = zipped(tmp_path / "bomb.zip", {"rows.jsonl": b"\n" * 200_000_000})
    with pytest.raises(InputError, match="expands more than 300 times"):
        names(path)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_bomb_in_a_member_that_is_passed_over_counts_too(tmp_path: Path) -> None:
    """A tar is expanded from its beginning to its end, whichever members are read."""
    with pytest.raises(InputError, match="expands more than 300 times"):
        names(tarred(tmp_path / "bomb.tar.gz", {"README.md": b"\n" * 200_000_000, "rows.jsonl": LINE}))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("cut", ["half", "garbage", "empty"])
def test_a_broken_archive_is_one_error(name: str, cut: str, tmp_path: Path) -> None:
    path = WRITERS[f"export{name[1:]}"](tmp_path / name, {"rows.jsonl": LINE * 1000})
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "garbage": b"hello" * 1000, "empty": b""}[cut])
    with pytest.raises(InputError, match=r"cannot be read|no such file") as error:
        names(path)
    assert name in error.value.where


def test_a_wrong_checksum_in_a_zip_is_one_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("rows.jsonl", LINE)
    path = tmp_path / "x.zip"
    path.write_bytes(path.read_bytes().replace(b'"x"', b'"z"'))
    with pytest.raises(InputError, match="cannot be read: Bad CRC"):
        names(path)


def test_two_members_of_one_archive_are_two_deliveries(tmp_path: Path) -> None:
    path = zipped(tmp_path / "export.zip", {"a.jsonl": LINE, "b.jsonl": LINE.replace(b"x", b"z")})
    home = Home(tmp_path / "home")
    first = deliver_files(home, path / "a.jsonl", form="auto")
    second = deliver_files(home, path / "b.jsonl", form="auto")
    assert first.id != second.id
    assert (first.manifest.headline["rows_accepted"], second.manifest.headline["rows_accepted"]) == (1, 1)
