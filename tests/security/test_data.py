"""Data of a stranger: what its files announce, hold and link to is not believed.

The same sentence, and exit code 2, whatever is wrong: no stack trace, no memory for what a header
announces, no program, and no name that a terminal, a plot or a page would obey.
"""

import gzip
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.evaluator.parts import plots
from components.idx_example_gen import label_names, spool, storage
from components.idx_example_gen.arrays import LONGEST_NAME
from components.idx_example_gen.data import read_data
from core.config import InputError
from pipeline.cli.main import app

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
LABELS = np.arange(40) % 4
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"


def npy(header: str) -> bytes:
    """A file of one array whose header is this text."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(784)


def npz(images: bytes, labels: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("x_train.npy", images)
        archive.writestr("y_train.npy", labels)
    return made.getvalue()


def saved(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def parquet(names: tuple[str, ...] = ("image", "label"), **columns: object) -> bytes:
    columns = {"image": list(map(png, IMAGES)), "label": LABELS} | columns
    made = io.BytesIO()
    pq.write_table(pa.table([pa.array(v) for v in columns.values()], names=list(names)), made)
    return made.getvalue()


def png(image: np.ndarray) -> bytes:
    made = io.BytesIO()
    Image.fromarray(image).save(made, "PNG")
    return made.getvalue()


def refused(folder: Path, name: str, content: bytes) -> str:
    """The sentence about a data directory with this file in it."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_data(str(folder))
    return str(caught.value)


# --- NumPy's files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "(" * 500,  # NumPy tries it again with Python's tokenizer, whose error is another
        "-" * 9000 + "1",  # the parser's stack
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 28, 28), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (1, 28, 28), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 28, 28), }",
    ],
)
def test_a_header_that_was_made_to_harm_is_a_damaged_file(tmp_path, header):
    for images, labels in ((npy(header), saved(LABELS)), (saved(IMAGES), npy(header))):
        said = refused(tmp_path, "d.npz", npz(images, labels))
        assert "is damaged" in said and len(said) < 400


def test_a_negative_size_does_not_read_all_that_an_archive_unpacks_to(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(spool, "check_memory", lambda count, where: taken.append(count))
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (-3000, 28, 28), }"
    said = refused(tmp_path, "d.npz", npz(npy(header) + bytes(50_000_000), saved(LABELS)))
    assert "announces -2352000 bytes, the file has" in said and max(taken) < 1_000_000


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99), (6, 255)])
def test_an_archive_with_a_password_or_of_an_unknown_kind_is_a_sentence(tmp_path, offset, value):
    content = bytearray(npz(saved(IMAGES), saved(LABELS)))
    content[content.find(b"PK\x01\x02") + offset] = value
    assert "d.npz" in refused(tmp_path, "d.npz", bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_in_any_compression_is_a_sentence(tmp_path, method):
    content = bytearray(npz(saved(IMAGES), saved(LABELS), method))
    for place in range(60, 90):
        content[place] ^= 0x55
    assert "is damaged" in refused(tmp_path, "d.npz", bytes(content))


def test_pickled_objects_are_not_loaded(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    made = io.BytesIO()
    np.save(made, np.array([Harm()], object), allow_pickle=True)
    said = refused(tmp_path, "d.npz", npz(saved(IMAGES), made.getvalue()))
    assert "Python objects, which are not loaded" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS.astype("M8[s]"), "labels of type datetime64"),
        (np.zeros(40, "V3"), "labels of type |V3"),
        (LABELS.astype(complex), "labels of type complex128"),
        (np.full(40, 0xFFFFFFFF, np.uint32).view("<U1"), "its texts are not Unicode"),
        (np.full(40, 0xD800, np.uint32).view("<U1"), "holds a character that is not seen"),
    ],
)
def test_labels_that_are_neither_numbers_nor_texts_are_refused(tmp_path, labels, words):
    assert words in refused(tmp_path, "d.npz", npz(saved(IMAGES), saved(labels)))


# --- tables ----------------------------------------------------------------------------------


def test_texts_of_a_table_that_are_no_utf8_are_a_sentence(tmp_path):
    plain = pa.array(["a"] * 40).buffers()
    broken = pa.Array.from_buffers(pa.string(), 40, [*plain[:2], pa.py_buffer(b"\xff" * 40)])
    assert "UTF8" in refused(tmp_path, "train.parquet", parquet(label=broken))


@pytest.mark.parametrize("label", [[{"a": 1}] * 40, [[1]] * 20 + [[1, 2]] * 20])
def test_a_structure_is_no_name_of_a_class(tmp_path, label):
    said = refused(tmp_path, "train.parquet", parquet(label=label))
    assert "no single numbers or texts" in said


def test_columns_of_one_name_are_a_sentence(tmp_path):
    content = parquet(("image", "label", "label"), more=LABELS)
    assert "2 columns named label" in refused(tmp_path, "train.parquet", content)
    line = ",".join(["label", *["p"] * 784])
    (tmp_path / "csv").mkdir()
    content = f"{line}\n{line}\n".encode()
    assert "784 columns named p" in refused(tmp_path / "csv", "train.csv", content)


def test_a_table_of_a_few_bytes_takes_no_memory_for_what_it_stands_for(tmp_path, monkeypatch):
    """A million equal texts are one text in a parquet file."""
    many = parquet(("image", "label", "note"), note=["z" * 2_000_000] * 40)
    assert len(many) < 1_000_000
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if "SIZE" in name else 10_000)  # 41 MB
    assert "of memory" in refused(tmp_path, "train.parquet", many)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if "SIZE" in name else 10_000)
    bomb = gzip.compress(b"label,x\n" + bytes(200_000_000), 6)
    assert len(bomb) < 1_000_000
    assert "of memory" in refused(tmp_path, "train.csv.gz", bomb)


def test_a_damaged_stream_of_a_table_is_a_sentence(tmp_path):
    content = bytearray(gzip.compress(os.urandom(500) + b"1,2,3\n" * 2000))
    for place in range(300, 340):
        content[place] ^= 0x5A
    assert "cannot be read as CSV" in refused(tmp_path, "train.csv.gz", bytes(content))


# --- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train/0/a.png", "train.parquet"])
def test_an_image_of_a_data_set_is_no_program(tmp_path, monkeypatch, name):
    """Pillow starts Ghostscript for an EPS file, whatever its name is."""
    ran = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # as it was looked for before
    content = parquet(image=[EPS] * 40) if name.endswith("parquet") else EPS
    assert "not an image that can be read" in refused(tmp_path / "data", name, content)
    assert not ran.exists()


def test_an_image_that_announces_a_huge_size_is_a_sentence(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    said = refused(tmp_path, "train/0/a.png", b"\x89PNG\r\n\x1a\n" + header + data)
    assert "a.png is not an image" in said


def test_links_that_lead_back_are_not_followed_and_others_are(tmp_path):
    """Thirty links to the folder itself would be 800,000 listings of it."""
    for k, image in enumerate(IMAGES):
        path = tmp_path / "data" / f"class {k % 2}" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    for k in range(30):
        (tmp_path / "data" / f"loop {k}").symlink_to(".")
        (tmp_path / "data" / "class 0" / f"up {k}").symlink_to("..")
    (tmp_path / "data" / "class 0" / "none.png").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "data" / "class 0" / "pipe.png")  # nobody ever writes to it
    assert len(storage.list_files(str(tmp_path / "data"))) == len(IMAGES)
    (tmp_path / "link").symlink_to("data")
    assert read_data(str(tmp_path / "link")).names == ("class 0", "class 1")


# --- names of classes ------------------------------------------------------------------------

LONG = "y" * (LONGEST_NAME + 1)


def test_a_name_of_a_class_is_short(tmp_path):
    """Each of 60,000 labels takes as much memory as the longest of them, and pages show them."""
    said = refused(tmp_path, "train.parquet", parquet(label=["x"] * 39 + ["y" * 1_000_000]))
    assert "a label of 1000000 characters" in said and len(said) < 300
    (tmp_path / "labels.txt").write_text(f"x\n{LONG}\n")
    with pytest.raises(InputError, match="has 101 characters"):
        label_names.read(str(tmp_path))


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "a\u202eb", "a\nb", "\ud7ff\u200b"])
def test_a_name_that_a_terminal_obeys_is_refused_by_the_command(tmp_path, name):
    (tmp_path / "train.parquet").write_bytes(parquet(label=["x"] * 20 + [name] * 20))
    result = CliRunner().invoke(app, ["check", "--data", str(tmp_path)])
    assert result.exit_code == 2 and "a character that is not seen" in " ".join(
        result.output.split()
    )
    assert not set(result.output) & set("\x1b\x07\u202e\u200b")


@pytest.mark.parametrize("name", [r"$\x$", "$a$b$", r"\$\x$", "_hidden", "%s{}", "<b>&"])
def test_a_name_is_text_to_a_plot(name):
    points = np.random.default_rng(0).random((40, 2))
    assert plots.scatter_map(points, LABELS, 4, ("x", name, "y", "z")).startswith(b"\x89PNG")
    counts = np.full(4, 0.25)
    drawn = plots.class_histogram(counts, counts, "model", ("x", name, "y", "z"))
    assert drawn.startswith(b"\x89PNG")
