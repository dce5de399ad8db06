"""N-07: thousands of damaged pictures, archives and label files; each ends in a result or in one sentence.

Pictures go through the decoding processes, texts and archives are read here: whatever would end this process
would end the server.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as Pillow

from annotator.decoding.limits import Limits
from annotator.decoding.pool import Decoders
from annotator.errors import BadFile
from annotator.importing import coco_json, csv_labels
from annotator.importing import zipfile as archives
from annotator.importing.cells import Problems
from annotator.importing.texts import check_text, open_text
from annotator.settings import Settings
from tests.conftest import picture_bytes
from tests.faults.claims import Claims, size

SEED = 11
KNOWN = {f"p{number}.jpg": number + 1 for number in range(8)}
BOUNDARY = (b"\0", b"\xff", b"\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
TOKENS = [b"-1", b"1e999", b"NaN", b"9" * 400, b"null", b"[[[[", b"}", b'"', b",", b";", b"\n", b"\xff",
          b"\0", b"\xc3",           b"true", b"{}", b"[]", "犬".encode()]  # fmt: skip


def mutated(data: bytes, chance: random.Random, inserts: list[bytes]) -> bytes:
    """One to four changes: flipped bits, cuts, repeats, moves and strange values."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        length = min(chance.choice((1, 2, 4, 16, 200)), len(changed) - place)
        kind = chance.randrange(6)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length] * chance.randint(1, 20)
        elif kind == 3:
            insert = chance.choice(inserts)
            changed[place : place + len(insert)] = insert
        elif kind == 4:
            changed[place:place] = chance.choice(inserts)
        elif chance.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def pictures() -> list[bytes]:
    """A small picture in every format, plain and with everything a format can have."""
    found = [picture_bytes(end, size=(48, 40)) for end in (".jpg", ".png", ".bmp", ".gif", ".tif", ".webp")]
    frames = [Pillow.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    exif = Pillow.Exif()
    exif[0x0112] = 6
    for kind, options in (
        ("AVIF", {}),
        ("GIF", {"save_all": True, "append_images": frames}),
        ("PNG", {"save_all": True, "append_images": frames}),
        ("WEBP", {"save_all": True, "append_images": frames}),
        ("JPEG", {"progressive": True, "exif": exif}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ):
        target = io.BytesIO()
        frames[0].save(target, kind, **options)
        found.append(target.getvalue())
    return found


def outcome(work: Callable[[], object]) -> str:
    """`taken`, or `refused` with a good sentence; anything else fails the test."""
    try:
        work()
    except BadFile as error:
        assert error.reason and "\n" not in str(error) and len(error.reason) < 500, str(error)
        return "refused"
    return "taken"


def reported(count: Counter[str], wanted: int) -> None:
    assert count.total() == wanted
    assert count["refused"] > wanted * 0.2  # the mutations do something
    assert count["taken"] > 0


def memory() -> int:
    """Largest memory this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_damaged_pictures_never_reach_the_server(claim: Claims) -> None:
    wanted, chance = size(1_200, 6_000), random.Random(SEED)
    made = claim("N-07", "no damaged picture ends the server or goes unreported", unit="pictures", seed=SEED)
    seeds, found, before = pictures(), Counter[str](), memory()
    decoders = Decoders(1, Limits(wall_s=30.0))
    for _ in range(wanted):
        data = mutated(chance.choice(seeds), chance, list(BOUNDARY))
        found[outcome(lambda data=data: decoders.decode(data, "x", 1_000_000))] += 1
    decoders.close()
    reported(found, wanted)
    assert memory() - before < 200_000
    made.done(wanted, **found)


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(4):
            made.writestr(f"a/{number}.jpg", picture_bytes(seed=number))
        made.writestr("b.png", picture_bytes(".png"), zipfile.ZIP_STORED)
        made.writestr("labels.csv", "file_name,dog\n")
    return target.getvalue()


def test_damaged_archives_are_refused_or_read(tmp_path: Path, settings: Settings, claim: Claims) -> None:
    wanted, chance = size(300, 1_500), random.Random(SEED + 1)
    made = claim(
        "N-07", "no damaged archive ends the server or goes unreported", unit="archives", seed=SEED + 1
    )
    data, found, path, before = archive(), Counter[str](), tmp_path / "a.zip", memory()

    def read() -> None:
        with archives.opened(path, settings) as members:
            for item in members.items:
                outcome(item.read)

    for _ in range(wanted):
        path.write_bytes(mutated(data, chance, [*BOUNDARY, b"PK\x01\x02", b"PK\x05\x06"]))
        found[outcome(read)] += 1
    reported(found, wanted)
    assert memory() - before < 200_000
    made.done(wanted, **found)


def coco() -> bytes:
    top = {
        "info": {"schema": "coco_partial/1"},
        "images": [
            {"id": n, "file_name": f"p{n}.jpg", "width": 40, "height": 30, "neg_category_ids": [2]}
            for n in range(8)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [1, 2, 3.5, 4],
                "segmentation": [[0, 0, 1, 0, 1, 1.5]] if n % 2 else {"size": [2, 3], "counts": [1, 5]},
                "iscrowd": 1 - n % 2,
            }
            for n in range(8)
        ],
        "image_labels": [
            {"image_id": n, "category_id": k, "state": ("positive", "negative")[k - 1]}
            for n in range(8)
            for k in (1, 2)
        ],
    }
    return json.dumps(top, indent=1).encode()


def csv() -> bytes:
    rows = "".join(f'"p{n}.jpg",{"10?"[n % 3]},yes,\n' for n in range(8))
    return f'\ufefffile_name,"dog",cat,cow\n{rows}'.encode()


@pytest.mark.parametrize("kind", ["coco", "csv"])
def test_damaged_label_files_are_refused_or_read(tmp_path: Path, claim: Claims, kind: str) -> None:
    wanted, chance = size(250, 1_250), random.Random(SEED + 2)
    made = claim(
        "N-07", f"no damaged {kind} file ends the server or goes unreported", unit="files", seed=SEED + 2
    )
    data, path, before = coco() if kind == "coco" else csv(), tmp_path / "l.txt", memory()
    found, listed = Counter[str](), 0

    def read(*, lenient: bool) -> None:
        nonlocal listed
        problems = Problems(file=path.name, lenient=lenient)
        check_text(path)
        with open_text(path) as file:
            if kind == "coco":
                cells = coco_json.read(file, KNOWN, problems)
            else:
                cells = csv_labels.read(file, KNOWN, problems)
        listed += len(problems.listed)
        assert problems.named == problems.count >= len(problems.listed)
        assert lenient or not problems.count
        assert set(cells.image_ids) <= set(KNOWN.values()) and set(cells.states) <= {1, -1, 2}
        assert len(cells.image_ids) == len(cells.columns) == len(cells.states)

    for _ in range(wanted):
        path.write_bytes(mutated(data, chance, TOKENS))
        strict = outcome(lambda: read(lenient=False))
        if outcome(lambda: read(lenient=True)) == "refused":
            assert strict == "refused"
        found[strict] += 1
    reported(found, wanted)
    assert listed > 0 and memory() - before < 200_000
    made.done(wanted, rows_listed=listed, **found)


def test_the_harness_sees_a_reader_that_lets_damage_through() -> None:
    with pytest.raises(ValueError, match="no sentence"):
        outcome(lambda: int("no sentence"))
    with pytest.raises(AssertionError):
        reported(Counter(taken=100), 100)
    assert os.getpid() > 0


def big_coco(path: Path, megabytes: int) -> int:
    """A plain COCO file of this size over the known pictures; the number of its annotations."""
    outline = json.dumps([[round(number * 1.37, 2) for number in range(60)]])
    count = 0
    with path.open("w") as file:
        images = [{"id": number, "file_name": name} for number, name in enumerate(KNOWN)]
        top = {"images": images, "categories": [{"id": 1, "name": "dog"}]}
        file.write(json.dumps(top)[:-1] + ', "annotations": [')
        while file.tell() < megabytes << 20:
            for _ in range(1_000):
                file.write(
                    f'{"," if count else ""}\n{{"id": {count}, "image_id": {count % 8}, "category_id": 1, '
                    f'"bbox": [1.5, 2, 3, 4], "segmentation": {outline}}}'
                )
                count += 1
        file.write("]}")
    return count


def test_a_large_coco_file_needs_little_memory(tmp_path: Path, claim: Claims) -> None:
    """R-50: 500 MB in less than 1 GB; each change reads 40 MB in a tenth of it."""
    megabytes = size(40, 500)
    made = claim("R-50", "a large COCO file is read in bounded memory", unit="MB")
    count, before = big_coco(tmp_path / "big.json", megabytes), memory()
    check_text(tmp_path / "big.json")
    with open_text(tmp_path / "big.json") as file:
        cells = coco_json.read(file, KNOWN, Problems(file="big.json"))
    grown = memory() - before
    assert len(cells.states) == 8 and count > megabytes * 1_000
    assert grown < size(100_000, 500_000)
    made.done(megabytes, annotations=count, grown_kib=grown)
